"""Language models as every later room uses them: loading, template, generation, safetensors, memory."""
