"""Tensors on disk: safetensors that are read back whole, or refused in one line."""

import pickle
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from grokinterp.runs import tensors
from grokinterp.runs.layout import RunError
from grokinterp.tasks import OPERATIONS, Group, Task, from_table, groups, operation
from grokinterp.tasks.operations import Operation, from_group


SHAPES = {"W": (3, 4), "b": (4,)}


class Bomb:
    """Notes that it was unpickled."""

    exploded = False

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return (explode, ())


def explode() -> None:
    Bomb.exploded = True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of two parameters."""
    generator = torch.Generator().manual_seed(0)
    params = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    tensors.write_tensors(tmp_path / "0000001.safetensors", params, {"epoch": 1, "name": "a"})
    return tmp_path / "0000001.safetensors"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool, torch.uint8])
def test_tensors_go_there_and_back(dtype: torch.dtype, tmp_path: Path) -> None:
    written = {"a": torch.tensor([[0, 1, 0], [1, 1, 0]]).to(dtype), "empty": torch.empty(0, 3, dtype=dtype)}
    tensors.write_tensors(tmp_path / "x.safetensors", written, {"epoch": 3, "labels": [[0, 1], "x"], "none": None})
    read, about = tensors.read_tensors(tmp_path / "x.safetensors")
    assert about == {"epoch": 3, "labels": [[0, 1], "x"], "none": None}
    assert read.keys() == written.keys()
    for name, tensor in written.items():
        torch.testing.assert_close(read[name], tensor, rtol=0, atol=0)


def test_views_that_share_their_memory_can_be_written(tmp_path: Path) -> None:
    x = torch.arange(6.0).reshape(2, 3)
    tensors.write_tensors(tmp_path / "x.safetensors", {"x": x, "transposed": x.T, "row": x[1], "same": x})
    read, _ = tensors.read_tensors(tmp_path / "x.safetensors")
    assert torch.equal(read["transposed"], x.T)
    assert torch.equal(read["row"], x[1])


def test_changing_what_was_read_changes_no_file(path: Path) -> None:
    first, _ = tensors.read_tensors(path)
    first["W"].zero_()
    second, _ = tensors.read_tensors(path)
    assert second["W"].abs().min() > 0


def test_what_was_read_lies_where_torch_puts_its_own(path: Path) -> None:
    # How memory is aligned can change the bits of a matrix product, and so those of a resumed run.
    read, _ = tensors.read_tensors(path)
    alignment = 64
    assert [tensor.data_ptr() % alignment for tensor in read.values()] == [torch.empty(5).data_ptr() % alignment] * 2


def test_files_have_the_permissions_of_any_other(path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_headers_of_other_programs_are_read_as_text(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", metadata={"format": "pt"})
    assert tensors.read_tensors(tmp_path / "x.safetensors")[1] == {"format": "pt"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there is no .*x\.safetensors"):
        tensors.read_tensors(tmp_path / "x.safetensors")


@pytest.mark.parametrize("length", [0, 5, 8, 60, -1])
def test_a_truncated_file_is_refused_in_one_line(length: int, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(RunError, match=r"0000001\.safetensors must be a complete safetensors file, got: ") as raised:
        tensors.read_params(path, SHAPES)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_are_refused(seed: int, path: Path) -> None:
    generator = torch.Generator().manual_seed(seed)
    path.write_bytes(bytes(torch.randint(0, 256, (999,), generator=generator).tolist()))
    with pytest.raises(RunError, match="must be a complete safetensors file"):
        tensors.read_params(path, SHAPES)


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="must be a regular file, got a directory"):
        tensors.read_tensors(tmp_path)


@pytest.mark.parametrize("write", ["torch.save", "pickle"])
def test_a_pickle_is_refused_and_never_loaded(write: str, path: Path) -> None:
    if write == "pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    else:
        torch.save({"W": Bomb()}, path)
    with pytest.raises(RunError, match="must be a complete safetensors file"):
        tensors.read_params(path, SHAPES)
    assert not Bomb.exploded


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"W": (3, 5), "b": (4,)}, r"but W has shape \(3, 4\), expected \(3, 5\) \(1 differ\)"),
        ({"W": (3, 4), "b": (4,), "c": (2,)}, r"but c has shape none, expected \(2,\) \(1 differ\)"),
        ({"W": (3, 4)}, r"but b has shape \(4,\), expected none \(1 differ\)"),
        ({"w": (3, 4), "b": (4,)}, r"but W has shape \(3, 4\), expected none \(2 differ\)"),
    ],
)
def test_parameters_of_other_shapes_are_named(like: dict[str, tuple[int, ...]], message: str, path: Path) -> None:
    with pytest.raises(RunError, match=message):
        tensors.read_params(path, like)


def test_parameters_come_in_the_order_of_the_model(path: Path) -> None:
    assert list(tensors.read_params(path, {"b": (4,), "W": (3, 4)})) == ["b", "W"]


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_goes_there_and_back(name: Operation, tmp_path: Path) -> None:
    assert_goes_there_and_back(operation(name, 7), tmp_path / "task.safetensors")


@pytest.mark.parametrize(
    "group",
    [groups.cyclic(6), groups.units(7), groups.units(8), groups.symmetric(3), groups.dihedral(4),
     groups.product(groups.cyclic(2), groups.symmetric(3))],
    ids=lambda group: group.name,
)  # fmt: skip
def test_every_group_goes_there_and_back(group: Group, tmp_path: Path) -> None:
    assert_goes_there_and_back(from_group(group), tmp_path / "task.safetensors")


def test_a_table_goes_there_and_back(tmp_path: Path) -> None:
    task = from_table(torch.tensor([[0, 2, 1], [1, 1, 0]]), name="a table")
    assert_goes_there_and_back(task, tmp_path / "task.safetensors")


def assert_goes_there_and_back(task: Task, path: Path) -> None:
    tensors.write_task(path, task)
    read = tensors.read_task(path)
    assert (read.name, read.n_outputs, read.n_tokens) == (task.name, task.n_outputs, task.n_tokens)
    for name in ("table", "a_tokens", "b_tokens", "elements"):
        assert_equal(getattr(read, name), getattr(task, name))
    assert (read.group is None) == (task.group is None)
    if task.group is not None and read.group is not None:
        assert (read.group.name, read.group.labels) == (task.group.name, task.group.labels)
        assert_equal(read.group.table, task.group.table)
        assert_equal(read.group.logarithm, task.group.logarithm)


def assert_equal(left: torch.Tensor | None, right: torch.Tensor | None) -> None:
    assert (left is None) == (right is None)
    if left is not None and right is not None:
        assert torch.equal(left, right)
        assert left.dtype == right.dtype


def test_what_is_no_task_is_refused(path: Path) -> None:
    with pytest.raises(RunError, match="must hold a task: 'table' is missing"):
        tensors.read_task(path)


def test_a_damaged_group_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "task.safetensors"
    tensors.write_task(path, operation("addition", 5))
    content, about = tensors.read_tensors(path)
    content["group_table"].zero_()
    tensors.write_tensors(path, content, about)
    with pytest.raises(RunError, match="must hold a task: the Cayley table of group Z_5 must be"):
        tensors.read_task(path)


def test_a_split_goes_there_and_back(tmp_path: Path) -> None:
    is_train = torch.rand(5, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    task, path = operation("addition", 5), tmp_path / "split.safetensors"
    plain = tensors.TrainingSet(is_train=is_train, answers=task.table)
    tensors.write_training_set(path, plain, task)
    assert set(tensors.read_tensors(path)[0]) == {"is_train"}
    found = tensors.read_training_set(path, task)
    assert torch.equal(found.is_train, is_train)
    assert torch.equal(found.answers, task.table)
    assert found.difficulty is None


def test_answers_and_difficulties_go_there_and_back(tmp_path: Path) -> None:
    task, path = operation("addition", 5), tmp_path / "split.safetensors"
    training_set = tensors.TrainingSet(
        is_train=torch.eye(5, dtype=torch.bool),
        answers=(task.table + torch.eye(5, dtype=torch.long)) % 5,
        difficulty=torch.linspace(0, 1, 25, dtype=torch.float64).reshape(5, 5),
    )
    tensors.write_training_set(path, training_set, task)
    found = tensors.read_training_set(path, task)
    assert torch.equal(found.answers, training_set.answers)
    assert found.difficulty is not None
    assert torch.equal(found.difficulty, training_set.difficulty)


@pytest.mark.parametrize(
    ("name", "message"),
    [("is_train", r"is_train must have shape \(5, 5\), got \(5, 4\)"), ("mask", "'is_train' is missing")],
)
def test_a_split_of_another_task_is_refused(name: str, message: str, tmp_path: Path) -> None:
    tensors.write_tensors(tmp_path / "split.safetensors", {name: torch.ones(5, 4, dtype=torch.bool)})
    with pytest.raises(RunError, match=rf"must hold a training set: {message}"):
        tensors.read_training_set(tmp_path / "split.safetensors", operation("addition", 5))
