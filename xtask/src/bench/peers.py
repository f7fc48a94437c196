"""A contender of `cargo xtask bench`: loads a job, then does units of work as
they are asked for on standard input, a line each, and answers with lines of JSON.

    python peers.py NAME --job DIR --threads T
"""

import time

START = time.perf_counter()  # before the imports: they are part of loading

import argparse
import importlib.metadata
import json
import math
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


# Label of positions without loss, in transformers.
IGNORED = -100

# Examples per batch of classification: on two cores, 16 and 32 are not faster.
PREDICTION_BATCH = 8


def say(**answer):
    print(json.dumps(answer), file=ANSWERS, flush=True)


def padded(rows, width, pad_token):
    return torch.tensor([row + [pad_token] * (width - len(row)) for row in rows])


def logits_of(model, ids, pad_token):
    """The logits of a model of transformers for examples padded to the longest one."""
    lengths = [len(row) for row in ids]
    width = max(lengths)
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    return model(padded(ids, width, pad_token), attention_mask=mask).logits


def grouped_by_length(lengths, batches, size):
    """Batches of the same examples as the sampler of transformers for
    `train_sampling_strategy="group_by_length"` makes them.

    The sampler's batches get shorter within an epoch. Their order does not matter for the
    speed of an epoch; here it is changed so that every part of an epoch has long and short ones.
    """
    from transformers.trainer_pt_utils import get_length_grouped_indices

    rows = [row for batch in batches for row in batch]
    lengths = [lengths[row] for row in rows]
    order = get_length_grouped_indices(lengths, size)
    batches = [order[first : first + size] for first in range(0, len(order), size)]
    batches.sort(key=lambda batch: sum(lengths[i] for i in batch))
    # Steps of the golden section spread any sorted numbers evenly.
    step = round(0.618 * len(batches))
    while math.gcd(step, len(batches)) != 1:
        step += 1
    spread = [batches[i * step % len(batches)] for i in range(len(batches))]
    return [[rows[i] for i in batch] for batch in spread]


class Training:
    """Steps over batches, epoch after epoch."""

    def __init__(self, job, model, examples, batches):
        self.job, self.model = job, model.train()
        self.examples, self.batches = examples, batches
        trainable = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            trainable, lr=job["lr"], weight_decay=job["weight_decay"]
        )
        self.next = 0

    def train(self, steps):
        start = time.perf_counter()
        tokens, losses = 0, []
        for _ in range(steps):
            rows = self.batches[self.next % len(self.batches)]
            self.next += 1
            ids = [self.examples["ids"][row] for row in rows]
            self.optimizer.zero_grad()
            loss = self.loss(rows, ids)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
            tokens += sum(map(len, ids))
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "steps": steps, "tokens": tokens, "losses": losses}


class ClassifierTraining(Training):
    """The loss of a classifier."""

    def __init__(self, job, model, batches):
        super().__init__(job, model, job["train"], batches)

    def loss(self, rows, ids):
        labels = torch.tensor([self.examples["labels"][row] for row in rows])
        return F.cross_entropy(self.logits(ids).float(), labels)


class BookTraining(ClassifierTraining):
    """The book's program: padded to the longest text, pooled at the last position."""

    def __init__(self, job, folder):
        config = json.loads((folder / "config.json").read_text())
        model = peer_models.book_model(folder, config, job)
        is_gpt2 = all(config[name] == value for name, value in GPT2_SHAPE.items())
        if is_gpt2 and (job["rank"], job["classes"]) == (16, 2):
            count = peer_models.trainable_count(model)
            assert count == GPT2_TRAINABLE, f"{count} parameters are trained"
        super().__init__(job, model, job["batches"])

    def logits(self, ids):
        ids = padded(ids, self.job["max_length"], self.job["pad_token"])
        return self.model(ids)[:, -1, :]


class PeftTraining(ClassifierTraining):
    """PEFT on batches grouped by length, each padded to its longest example."""

    def __init__(self, job, folder, bfloat16=False, compiled=False):
        # PEFT keeps adapters in float32. Autocast would round float32 weights in every step.
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        model = peer_models.peft_model(folder, job, dtype)
        lengths = [len(row) for row in job["train"]["ids"]]
        batches = grouped_by_length(lengths, job["batches"], job["batch_size"])
        super().__init__(job, model, batches)
        self.bfloat16 = bfloat16
        if compiled:
            self.model = torch.compile(self.model, dynamic=True)

    def logits(self, ids):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            return logits_of(self.model, ids, self.job["pad_token"])


class LanguageModelTraining(Training):
    """PEFT on a language model, with the loss of transformers on all tokens.

    Examples are padded to the longest one of their batch, as by transformers' collators; batches
    are as they come, or grouped by length. Packed examples lie one behind the other in one row,
    and their positions tell transformers where attention ends, as with DataCollatorWithFlattening
    and as TRL packs.
    """

    def __init__(self, job, folder, bfloat16=False, grouped=False, packed=False, compiled=False):
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        model = peer_models.peft_language_model(folder, job, dtype)
        examples = job["language_model"]
        batches = examples["batches"]
        if grouped:
            batches = grouped_by_length(list(map(len, examples["ids"])), batches, job["batch_size"])
        super().__init__(job, model, examples, batches)
        self.bfloat16, self.packed = bfloat16, packed
        if compiled:
            self.model = torch.compile(self.model, dynamic=True)

    def inputs(self, ids):
        if not self.packed:
            width = max(map(len, ids))
            mask = (torch.arange(width) < torch.tensor([[len(row)] for row in ids])).long()
            rows = padded(ids, width, self.job["pad_token"])
            return {
                "input_ids": rows,
                "attention_mask": mask,
                "labels": rows.masked_fill(mask == 0, IGNORED),
            }
        return {
            "input_ids": torch.tensor([[token for row in ids for token in row]]),
            "position_ids": torch.tensor([[place for row in ids for place in range(len(row))]]),
            # The first token of an example is not predicted from the one before it.
            "labels": torch.tensor([[t for row in ids for t in [IGNORED, *row[1:]]]]),
        }

    def loss(self, rows, ids):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            return self.model(**self.inputs(ids)).loss


class Classifying:
    """Classifies the test set sorted by length, each batch padded to its longest example."""

    def __init__(self, job, folder, bfloat16=False, compiled=False):
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        self.job, self.model = job, peer_models.transformers_model(folder, job, dtype).eval()
        if compiled:
            self.model = torch.compile(self.model, dynamic=True)

    @torch.inference_mode()
    def evaluate(self):
        start = time.perf_counter()
        ids = sorted(self.job["test"]["ids"], key=len)
        predictions = []
        for first in range(0, len(ids), PREDICTION_BATCH):
            batch = ids[first : first + PREDICTION_BATCH]
            logits = logits_of(self.model, batch, self.job["pad_token"])
            predictions += logits.argmax(dim=-1).tolist()
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "rows": len(predictions), "tokens": sum(map(len, ids))}


# As in the Rust contender.
PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 8, 16, 128


class Generating:
    """Continues the beginnings of examples greedily, padded on the left to the longest one."""

    def __init__(self, job, folder):
        self.job, self.model = job, peer_models.language_model(folder).eval()
        # Every text has all of its new tokens.
        self.model.generation_config.eos_token_id = None

    @torch.inference_mode()
    def generate(self):
        start = time.perf_counter()
        ids = [row[:PROMPT_TOKENS] for row in self.job["test"]["ids"][:PROMPTS]]
        width = max(map(len, ids))
        pad_token = self.job["pad_token"]
        rows = torch.tensor([[pad_token] * (width - len(row)) + row for row in ids])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
        texts = self.model.generate(
            rows,
            attention_mask=mask,
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            pad_token_id=pad_token,
        )
        tokens = texts.shape[0] * (texts.shape[1] - width)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "rows": len(ids), "tokens": tokens}


PEFT = ["torch", "transformers", "peft"]
CONTENDERS = {
    "pytorch": (BookTraining, {}, ["torch"]),
    "peft": (PeftTraining, {}, PEFT),
    "peft-compiled": (PeftTraining, {"compiled": True}, PEFT),
    "peft-bfloat16": (PeftTraining, {"bfloat16": True}, PEFT),
    "peft-language-model": (LanguageModelTraining, {}, PEFT),
    "peft-language-model-grouped": (LanguageModelTraining, {"grouped": True}, PEFT),
    "peft-language-model-packed": (LanguageModelTraining, {"packed": True}, PEFT),
    "peft-language-model-compiled": (LanguageModelTraining, {"compiled": True}, PEFT),
    "peft-language-model-bfloat16": (LanguageModelTraining, {"bfloat16": True}, PEFT),
    "peft-language-model-packed-bfloat16": (
        LanguageModelTraining,
        {"packed": True, "bfloat16": True},
        PEFT,
    ),
    "transformers": (Classifying, {}, ["torch", "transformers"]),
    "transformers-compiled": (Classifying, {"compiled": True}, ["torch", "transformers"]),
    "transformers-bfloat16": (Classifying, {"bfloat16": True}, ["torch", "transformers"]),
    "transformers-generate": (Generating, {}, ["torch", "transformers"]),
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
            case ["generate"]:
                say(**contender.generate())
            case ["quit"]:
                say(peak_memory_bytes=peak_memory())
                return
            case _:
                sys.exit(f"{args.name} knows no {line!r}")


if __name__ == "__main__":
    main()
