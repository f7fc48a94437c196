import json
from pathlib import Path

import torch
from jinja2 import Template
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = "openai-community/gpt2"  # base model
adapter = "."
config = json.loads(Path(adapter, "gpt2_lora.json").read_text())

tokenizer = AutoTokenizer.from_pretrained("openai-community/gpt2")
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
model = PeftModel.from_pretrained(model, adapter).eval()

template = Template(config["prompts"]["template"], trim_blocks=True, lstrip_blocks=True)
question = "How are you?"
prompt = template.render(prompt=question, instruction=question, input="")
inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens=100, pad_token_id=tokenizer.eos_token_id)
print(tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
