"""What a step computes with: fused LoRA layers, packed attention, loss, gradient checkpointing."""
