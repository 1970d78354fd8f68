"""The last layer for the first token alone gives what the whole layer gives."""

from __future__ import annotations

import pytest

from pipeline.screen.toxicity.first_state import first_state


@pytest.mark.parametrize("kind", ["Bert", "Roberta", "XLMRoberta"])
def test_it_is_the_first_state_of_the_whole_layer(kind: str) -> None:
    import torch
    import transformers

    torch.manual_seed(4)
    sizes = {"hidden_size": 24, "num_attention_heads": 3, "intermediate_size": 40, "num_hidden_layers": 1}
    config = getattr(transformers, f"{kind}Config")(**sizes, vocab_size=50, initializer_range=0.7)
    layer = getattr(transformers, f"{kind}Model")(config).eval().encoder.layer[0]
    torch.nn.init.normal_(layer.attention.self.key.bias)
    torch.nn.init.normal_(layer.attention.self.value.bias)
    states, mask = torch.randn(3, 7, 24), torch.ones(3, 7, dtype=torch.bool)
    mask[1, 4:] = False
    mask[2, 1:] = False
    with torch.inference_mode():
        whole = layer(states, mask[:, None, None])[:, :1]
        assert torch.allclose(first_state(layer, states, mask), whole, atol=1e-5)
    assert whole.std() > 0.1
