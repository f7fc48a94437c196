import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = "openai-community/gpt2"  # base model
adapter = "."

tokenizer = AutoTokenizer.from_pretrained("openai-community/gpt2")
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
model = PeftModel.from_pretrained(model, adapter).eval()

inputs = tokenizer("Every effort moves you", return_tensors="pt")
tokens = model.generate(**inputs, max_new_tokens=20, pad_token_id=tokenizer.eos_token_id)
print(tokenizer.decode(tokens[0]))
