"""What a TransformerLens model computes with: its key frequencies by every rule, and what they explain.

Here the model is that of the bundled run, the paper's own. Put any HookedTransformer or TransformerBridge in its
place that was trained on [a, b, '='] -> a + b mod p.
"""

import grokinterp as gi


def main() -> None:
    run = gi.load_run("nanda2023")
    model = run.model()
    print(type(model).__name__, "of epoch", run.checkpoint_epochs[-1])
    for rule in ("logits", "neurons", "W_E", "W_L"):
        print(f"{rule:>8}: {gi.fourier.key_frequencies(model, rule=rule)}")

    keys = gi.fourier.key_frequencies(model)
    share = gi.logits.variance_explained(model, keys)
    print(f"cos w(a+b-c) of the keys explain {share:.1%} of the variance of the logits")

    # Losses by split need to know the pairs that were trained on.
    snapshot = gi.snapshot(model, task=run.task, is_train=run.is_train)
    print(f"loss of all pairs:          {gi.progress.losses(snapshot).sel(split='all').item():.3g} nats")
    print(f"with the keys alone:        {gi.progress.restricted_loss(keys)(snapshot).item():.3g} nats")
    print(f"without them (train pairs): {gi.progress.excluded_loss(keys)(snapshot).item():.3g} nats")


if __name__ == "__main__":
    main()
