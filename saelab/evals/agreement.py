"""Whether transformer-lens computes of a model what transformers does, from which activations are harvested. Of a model that
it loads by its architecture alone nobody has compared that before."""

from __future__ import annotations

import torch

from ..errors import CannotPrepare
from ..models import layer_output, load_model
from .bench import Bench, at_work

TOKENS = 32
AGREES = {"float32": 0.01, "bfloat16": 0.1}
"""The largest difference that rounding explains, as a share of the activations' deviation from their mean."""


def check_activations(bench: Bench) -> None:
    """Compare both on a few tokens. Raises CannotPrepare."""
    from transformer_lens import HookedTransformer

    device, data = torch.device(bench.device), bench.data
    model, _ = load_model(data, device)
    length = min(TOKENS, data.context)
    tokens = torch.arange(1, length + 1, device=device)[None] * 7919 % model.config.get_text_config().vocab_size
    own = layer_output(model, data.layer, tokens)[0, 1:].float()
    with at_work(bench), torch.inference_mode():
        lens = HookedTransformer.from_pretrained_no_processing(
            bench.official, hf_model=model, device=bench.device, dtype=getattr(torch, data.dtype)
        )
        _, cache = lens.run_with_cache(tokens, names_filter=[bench.hook], stop_at_layer=data.layer + 1)
    seen = cache[bench.hook][0, 1:].float()
    apart = float((seen - own).norm() / (own - own.mean(dim=0)).norm())
    if not apart <= AGREES[data.dtype]:
        raise CannotPrepare(
            f"model {data.model}: transformer-lens, through which SAEBench loads it as {bench.official}, computes other "
            f"activations after layer {data.layer} than transformers (they differ by {100 * apart:.1f} % of their "
            'deviation), so its scores would be of another model. --set evals="" trains without scores.'
        )
