"""A dask cluster as an executor. The only file that knows `distributed`, which is an extra."""

import logging
from typing import Any, Final

import torch
from distributed import Client
from distributed.cfexecutor import ClientExecutor

from grokinterp.runs.layout import RunError


# Seconds for which a scheduler may not answer.
CONNECT_TIMEOUT: Final = 10.0


class ClusterExecutor(ClientExecutor):
    """dask's own executor, which knows whether its scheduler is there and closes its connection."""

    def __init__(self, client: Client, address: str) -> None:
        # Not pure: dask would answer a config that failed before with the failure it remembers.
        super().__init__(client, pure=False)
        self.client, self.address = client, address

    @property
    def complaint(self) -> str:
        """What is wrong with the executor; empty if nothing is."""
        return "" if self.client.status == "running" else f"the dask scheduler at {self.address} is gone"

    def shutdown(self, wait: bool = True, **_: Any) -> None:  # noqa: FBT001, FBT002 - as concurrent.futures has it
        """End the connection; a task that runs goes on."""
        if self.complaint:
            # It would tell, at length, that it could not connect again.
            logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        else:
            super().shutdown(wait=wait)
        self.client.close(timeout=2)


def connect(address: str) -> ClusterExecutor:
    """The executor of the scheduler at an address, its workers, now and later, with one torch thread each.

    Raises:
        RunError: If no scheduler answers.
    """
    try:
        client = Client(address, timeout=CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        msg = f"no dask scheduler answers at {address} ({error}); start one with `dask scheduler`, or mend the address."
        raise RunError(msg) from None
    client.register_worker_callbacks(setup=one_thread)
    return ClusterExecutor(client, address)


def one_thread() -> None:
    """What each worker does when it joins."""
    torch.set_num_threads(1)
