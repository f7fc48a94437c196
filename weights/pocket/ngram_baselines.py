#!/usr/bin/env python3
"""Perplexity of a unigram and a bigram model on the held-out part of a corpus.

    python3 ngram_baselines.py corpus.txt

Both models are interpolated by the rule of Witten and Bell (1991; Chen and Goodman
1999, section 2.4): a context that was followed by many different tokens leaves more
probability to the model of lower order. The unigram model is interpolated with the
uniform distribution over the vocabulary.

Documents, their tokens and the validation set equal `gpt2-lora pretrain` with
the same text, `--held-out` and `--seed`, so that the numbers can be compared with the
perplexity in its report. Needs Python 3.11, numpy and tiktoken.
"""

import argparse
import base64
import collections
import math
import pathlib

import numpy
import tiktoken

END_OF_TEXT = 50256
VOCABULARY = 50257
LONGEST_DOCUMENT = 4096  # tokens; a longer document is split, so that none is held out as a whole


def tokenizer(ranks):
    """GPT-2's BPE, read from `r50k_base.tiktoken` if given; tiktoken downloads the same file."""
    if ranks is None:
        return tiktoken.get_encoding("gpt2")
    pairs = (line.split() for line in ranks.read_bytes().splitlines() if line)
    return tiktoken.Encoding(
        name="gpt2",
        pat_str=r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in pairs},
        special_tokens={"<|endoftext|>": END_OF_TEXT},
        explicit_n_vocab=VOCABULARY,
    )


def documents(text):
    """Blocks of lines between empty lines, without whitespace at the end of lines."""
    block = []
    for line in [*text.split("\n"), ""]:
        line = line.rstrip()
        if line:
            block.append(line)
        elif block:
            yield "\n".join(block)
            block = []


def permutation(count, seed):
    """`torch.randperm(count)` with a CPU generator seeded with `seed`."""
    generator = numpy.random.MT19937()
    generator._legacy_seeding(seed)
    order = list(range(count))
    for i, word in enumerate(generator.random_raw(max(count - 1, 0))):
        j = i + int(word) % (count - i)
        order[i], order[j] = order[j], order[i]
    return order


def streams(text, encoding, held_out, seed):
    """Token streams of the training and the held-out documents."""
    pieces = []
    for tokens in encoding.encode_ordinary_batch(list(documents(text))):
        pieces += [tokens[i : i + LONGEST_DOCUMENT] for i in range(0, len(tokens), LONGEST_DOCUMENT)]
    held = min(max(math.floor(len(pieces) * held_out + 0.5), 1), len(pieces) - 1)
    order = permutation(len(pieces), seed)

    def stream(numbers):
        tokens = [END_OF_TEXT]
        for number in numbers:
            tokens += pieces[number]
            tokens.append(END_OF_TEXT)
        return tokens

    return stream(order[held:]), stream(order[:held]), held, len(pieces)


class Unigram:
    def __init__(self, stream):
        self.counts = collections.Counter(stream[1:])
        self.total = self.counts.total()

    def probability(self, token):
        distinct = len(self.counts)
        return (self.counts[token] + distinct / VOCABULARY) / (self.total + distinct)


class Bigram:
    def __init__(self, stream, unigram):
        self.unigram = unigram
        self.counts = collections.Counter(zip(stream, stream[1:]))
        self.totals = collections.Counter(stream[:-1])
        self.distinct = collections.Counter(context for context, _ in self.counts)

    def probability(self, context, token):
        lower, distinct = self.unigram.probability(token), self.distinct[context]
        if not distinct:
            return lower
        return (self.counts[context, token] + distinct * lower) / (self.totals[context] + distinct)


def perplexity(probabilities):
    losses = [-math.log(probability) for probability in probabilities]
    return math.exp(math.fsum(losses) / len(losses))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=pathlib.Path, nargs="+", help="UTF-8, an empty line between documents")
    parser.add_argument("--held-out", type=float, default=0.01, help="fraction of the documents (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=123, help="of the shuffle (default: %(default)s)")
    parser.add_argument("--bpe", type=pathlib.Path, help="r50k_base.tiktoken (default: tiktoken downloads it)")
    args = parser.parse_args()

    # A document does not continue in the next file.
    text = "\n\n".join(path.read_bytes().decode() for path in args.text)
    train, held_out, held, count = streams(text, tokenizer(args.bpe), args.held_out, args.seed)
    unigram = Unigram(train)
    bigram = Bigram(train, unigram)
    print(f"training: {len(train):,} tokens of {count - held:,} documents")
    print(f"held out: {len(held_out):,} tokens of {held:,} documents")
    print(f"unigram perplexity: {perplexity(map(unigram.probability, held_out[1:])):,.1f}")
    print(f"bigram perplexity: {perplexity(map(bigram.probability, held_out, held_out[1:])):,.1f}")


if __name__ == "__main__":
    main()
