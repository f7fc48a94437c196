import json
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

base = "openai-community/gpt2"  # base model
adapter = "."
config = json.loads(Path(adapter, "gpt2_lora.json").read_text())
labels = config["labels"]

tokenizer = AutoTokenizer.from_pretrained("openai-community/gpt2")
model = AutoModelForSequenceClassification.from_pretrained(
    base,
    num_labels=len(labels),
    id2label=dict(enumerate(labels)),
    pad_token_id=tokenizer.eos_token_id,
    dtype=torch.float32,
)
model = PeftModel.from_pretrained(model, adapter).eval()

text = "Are you home by six?"
inputs = tokenizer(text, truncation=True, max_length=config["max_length"], return_tensors="pt")
with torch.no_grad():
    probabilities = model(**inputs).logits.softmax(-1)[0]
best = probabilities.argmax().item()
print(f"{labels[best]} {probabilities[best]:.3f}")
