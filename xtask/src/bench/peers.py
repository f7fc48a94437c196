"""A contender of `cargo xtask bench`: loads a job, then does units of work as
they are asked for on standard input, a line each, and answers with lines of JSON.

    python peers.py NAME --job DIR --threads T
"""

import time

START = time.perf_counter()  # before the imports: they are part of loading

import argparse
import importlib.metadata
import json
import sys
from pathlib import Path

import torch
from torch.nn import functional as F

import peer_models

# Answers alone go to standard output; a library that prints would spoil them.
ANSWERS, sys.stdout = sys.stdout, sys.stderr

GPT2_SHAPE = {"n_layer": 12, "n_embd": 768, "n_head": 12}
# A and B of rank 16 on every linear layer of GPT-2 124M and on a head of two classes.
GPT2_TRAINABLE = 2_666_528


def say(**answer):
    print(json.dumps(answer), file=ANSWERS, flush=True)


def padded(rows, width, pad_token):
    return torch.tensor([row + [pad_token] * (width - len(row)) for row in rows])


def attention_mask(lengths, width):
    return (torch.arange(width) < torch.tensor(lengths)[:, None]).long()


class Training:
    """Steps over the job's batches, round and round."""

    def __init__(self, job, model):
        self.job, self.model = job, model.train()
        trainable = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trainable, lr=job["lr"], weight_decay=job["weight_decay"]
        )
        self.next = 0

    def train(self, steps):
        start = time.perf_counter()
        tokens, losses = 0, []
        for _ in range(steps):
            rows = self.job["batches"][self.next % len(self.job["batches"])]
            self.next += 1
            ids = [self.job["train"]["ids"][row] for row in rows]
            labels = torch.tensor([self.job["train"]["labels"][row] for row in rows])
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.logits(ids), labels)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
            tokens += sum(map(len, ids))
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "steps": steps, "tokens": tokens, "losses": losses}


class BookTraining(Training):
    """The book's program: padded to the longest text, pooled at the last position."""

    def __init__(self, job, folder):
        config = json.loads((folder / "config.json").read_text())
        model = peer_models.book_model(folder, config, job)
        is_gpt2 = all(config[name] == value for name, value in GPT2_SHAPE.items())
        if is_gpt2 and (job["rank"], job["classes"]) == (16, 2):
            count = peer_models.trainable_count(model)
            assert count == GPT2_TRAINABLE, f"{count} parameters are trained"
        super().__init__(job, model)

    def logits(self, ids):
        ids = padded(ids, self.job["max_length"], self.job["pad_token"])
        return self.model(ids)[:, -1, :]


class PeftTraining(Training):
    """PEFT, padded to the longest text of all or of the batch."""

    def __init__(self, job, folder, to_longest):
        super().__init__(job, peer_models.peft_model(folder, job))
        self.to_longest = to_longest

    def logits(self, ids):
        lengths = [len(row) for row in ids]
        width = max(lengths) if self.to_longest else self.job["max_length"]
        mask = attention_mask(lengths, width)
        return self.model(padded(ids, width, self.job["pad_token"]), attention_mask=mask).logits


class Classifying:
    """Classifies the test set, padded to one length."""

    def __init__(self, job, folder):
        self.job, self.model = job, peer_models.transformers_model(folder, job).eval()

    @torch.inference_mode()
    def evaluate(self):
        start = time.perf_counter()
        rows, size = self.job["test"]["ids"], self.job["batch_size"]
        width = max(map(len, rows))
        predictions = []
        for first in range(0, len(rows), size):
            ids = rows[first : first + size]
            mask = attention_mask([len(row) for row in ids], width)
            ids = padded(ids, width, self.job["pad_token"])
            logits = self.model(ids, attention_mask=mask).logits
            predictions += logits.argmax(dim=-1).tolist()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "rows": len(predictions), "tokens": sum(map(len, rows))}


CONTENDERS = {
    "pytorch": (BookTraining, {}, ["torch"]),
    "peft-max-length": (PeftTraining, {"to_longest": False}, ["torch", "transformers", "peft"]),
    "peft-longest": (PeftTraining, {"to_longest": True}, ["torch", "transformers", "peft"]),
    "transformers": (Classifying, {}, ["torch", "transformers"]),
}


def peak_memory():
    """The most memory that this process has had, if the system says it."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    kilobytes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kilobytes[0]) * 1024 if kilobytes else None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    job = json.loads((args.job / "job.json").read_text())
    torch.manual_seed(job["seed"])
    make, options, libraries = CONTENDERS[args.name]
    contender = make(job, args.job / "model", **options)
    versions = {name: importlib.metadata.version(name) for name in libraries}
    say(load_seconds=time.perf_counter() - START, versions=versions)
    for line in sys.stdin:
        match line.split():
            case ["train", steps]:
                say(**contender.train(int(steps)))
            case ["evaluate"]:
                say(**contender.evaluate())
            case ["quit"]:
                say(peak_memory_bytes=peak_memory())
                return
            case _:
                sys.exit(f"{args.name} knows no {line!r}")


if __name__ == "__main__":
    main()
