"""Find the key frequencies of a TransformerLens model by every rule, and what they explain.

This example uses the model of the bundled run. Any HookedTransformer or TransformerBridge trained on
[a, b, '='] -> a + b mod p works in its place.
"""

import grokinterp as gi


def main() -> None:
    run = gi.load_run("nanda2023")
    model = run.model()
    print(type(model).__name__, "of epoch", run.checkpoint_epochs[-1])
    for rule in ("logits", "neurons", "W_E", "W_L"):
        print(f"{rule:>8}: {gi.fourier.key_frequencies(model, rule=rule)}")

    keys = gi.fourier.key_frequencies(model)
    fve = gi.logits.variance_explained(model, keys)
    print(f"FVE of the logits by cos w(a+b-c) of the key frequencies: {fve:.3f}")

    # Losses by split need the training pairs.
    snapshot = gi.snapshot(model, task=run.task, is_train=run.is_train)
    print(f"loss over all pairs:                     {gi.progress.losses(snapshot).sel(split='all').item():.3g} nats")
    print(f"restricted to the key frequencies:       {gi.progress.restricted_loss(keys)(snapshot).item():.3g} nats")
    print(f"without them (excluded loss, train):     {gi.progress.excluded_loss(keys)(snapshot).item():.3g} nats")


if __name__ == "__main__":
    main()
