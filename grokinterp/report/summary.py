"""What a run's report says, without its pictures."""

from grokinterp.report import findings
from grokinterp.report.gather import gather, has_attention
from grokinterp.report.setting import setting
from grokinterp.runs.run import AnyRun, load_run


def summary(run: AnyRun, *, progress: bool = True) -> list[str]:
    """The findings of a run in words. Measures are kept in its `analysis/` folder.

    Args:
        run: A run with at least one checkpoint, or its path.
        progress: Whether to show a progress bar.

    Returns:
        A sentence or two each: what was trained, when it memorized and grokked, its phases, its keys by each
        rule, what they explain of the logits, and how many neurons each has; and what is left out, and why.

    Raises:
        RunError: If the run has no metrics or no checkpoint, or a file of it is broken.
    """
    run = load_run(run)
    numbers = gather(run, progress_bar=progress)
    n_train, n_pairs = int(run.is_train.sum()), run.is_train.numel()
    said = [setting(run.config, run.task.name, n_train, n_pairs, run.forked_from)]
    said += findings.outcome(numbers.metrics, numbers.events, planned=run.config.epochs)
    if not has_attention(run):
        said.append(findings.NO_ATTENTION)
    if not numbers.keys:
        return [*said, findings.no_group(run.task.name)]
    keys = list(numbers.keys["logits"])
    if keys:
        said += findings.phases(numbers.phases) + findings.measures(numbers.curves)
    said += findings.keys(numbers.keys)
    return said + findings.logits(numbers.curves["logit_fve"], keys) + findings.neurons(numbers.pictures)
