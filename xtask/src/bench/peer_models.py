"""The models that our fine-tuning is measured against.

`Gpt2` computes as the program of the book's Appendix E does, one plain PyTorch
operation after the other: nothing is fused, query, key and value are layers of
their own, and the head is applied to every position. The others are what a
program of today would take from `transformers` and `peft`.
"""

import math

import torch
from safetensors import safe_open
from torch import nn


class LayerNorm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.eps = eps
        self.scale = nn.Parameter(torch.ones(width))
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        mean = x.mean(dim=-1, keepdim=True)
        variance = x.var(dim=-1, keepdim=True, unbiased=False)
        return self.scale * ((x - mean) / torch.sqrt(variance + self.eps)) + self.shift


class Gelu(nn.Module):
    """GPT-2's approximation with tanh."""

    def forward(self, x):
        inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3))
        return 0.5 * x * (1 + torch.tanh(inner))


class Attention(nn.Module):
    def __init__(self, width, heads, longest):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        future = torch.ones(longest, longest, dtype=torch.bool).triu(1)
        self.register_buffer("future", future, persistent=False)

    def forward(self, x):
        batch, length, width = x.shape

        def heads(t):
            return t.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        k, q, v = heads(self.key(x)), heads(self.query(x)), heads(self.value(x))
        scores = q @ k.transpose(2, 3)
        scores.masked_fill_(self.future[:length, :length], -torch.inf)
        weights = torch.softmax(scores / math.sqrt(k.shape[-1]), dim=-1)
        mixed = (weights @ v).transpose(1, 2).contiguous().view(batch, length, width)
        return self.out(mixed)


class Block(nn.Module):
    """No dropout anywhere: the recipe's rate is 0, which returns its input."""

    def __init__(self, config):
        super().__init__()
        width, eps = config["n_embd"], config.get("layer_norm_epsilon", 1e-5)
        self.norm1 = LayerNorm(width, eps)
        self.attention = Attention(width, config["n_head"], config["n_positions"])
        self.norm2 = LayerNorm(width, eps)
        self.inner = nn.Linear(width, 4 * width)
        self.gelu = Gelu()
        self.outer = nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.outer(self.gelu(self.inner(self.norm2(x))))


class Gpt2(nn.Module):
    def __init__(self, config, classes):
        super().__init__()
        width = config["n_embd"]
        self.tokens = nn.Embedding(config["vocab_size"], width)
        self.positions = nn.Embedding(config["n_positions"], width)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(config["n_layer"])))
        self.norm = LayerNorm(width, config.get("layer_norm_epsilon", 1e-5))
        self.head = nn.Linear(width, classes)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        return self.head(self.norm(self.blocks(x)))


class Lora(nn.Module):
    """A linear layer with a product of two small matrices beside it."""

    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear
        self.alpha = alpha
        self.A = nn.Parameter(torch.empty(linear.in_features, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.B = nn.Parameter(torch.zeros(rank, linear.out_features))

    def forward(self, x):
        return self.linear(x) + self.alpha * (x @ self.A @ self.B)


def wrap_linears(module, rank, alpha):
    """Put a `Lora` around every `nn.Linear` below `module`."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, Lora(child, rank, alpha))
        else:
            wrap_linears(child, rank, alpha)


def load_weights(model, file):
    """Fill `model` from a file in the Hugging Face layout; the head stays random."""
    with safe_open(file, framework="pt") as stored, torch.no_grad():

        def put(target, source, columns=None):
            # GPT-2's Conv1D keeps [in, out]; nn.Linear wants [out, in].
            is_linear = isinstance(target, nn.Linear)
            weight, bias = (target.weight, target.bias) if is_linear else (target.scale, target.shift)
            values = stored.get_tensor(f"{source}.weight"), stored.get_tensor(f"{source}.bias")
            if columns is not None:
                values = values[0][:, columns], values[1][columns]
            weight.copy_(values[0].T if is_linear else values[0])
            bias.copy_(values[1])

        model.tokens.weight.copy_(stored.get_tensor("wte.weight"))
        model.positions.weight.copy_(stored.get_tensor("wpe.weight"))
        put(model.norm, "ln_f")
        for i, block in enumerate(model.blocks):
            attention, width = block.attention, model.tokens.embedding_dim
            for j, part in enumerate((attention.query, attention.key, attention.value)):
                put(part, f"h.{i}.attn.c_attn", slice(j * width, (j + 1) * width))
            put(attention.out, f"h.{i}.attn.c_proj")
            put(block.inner, f"h.{i}.mlp.c_fc")
            put(block.outer, f"h.{i}.mlp.c_proj")
            put(block.norm1, f"h.{i}.ln_1")
            put(block.norm2, f"h.{i}.ln_2")


def book_model(folder, config, job):
    """The book's model: everything frozen, adapters on every linear layer and the head."""
    model = Gpt2(config, job["classes"])
    load_weights(model, folder / "model.safetensors")
    for parameter in model.parameters():
        parameter.requires_grad = False
    wrap_linears(model, job["rank"], job["alpha"])
    return model


def transformers_model(folder, job, dtype):
    """The classifier of `transformers`, with its fastest attention on a processor."""
    from transformers import GPT2ForSequenceClassification

    return GPT2ForSequenceClassification.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation="sdpa",
        num_labels=job["classes"],
        pad_token_id=job["pad_token"],
        # The recipe's rate. Left out of a file, it would be 0.1.
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        # Nothing is generated: keys and values are not needed again.
        use_cache=False,
    )


def language_model(folder):
    """The language model of `transformers` for generation. For the single queries of a step, its
    own attention is 5 to 10 % faster than scaled_dot_product_attention on two cores."""
    from transformers import GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )


def lora_config(job, **options):
    """Adapters on all linear layers."""
    from peft import LoraConfig

    return LoraConfig(
        r=job["rank"],
        # PEFT divides it by the rank, which the recipe does not: as fast, and what
        # a user of PEFT would write.
        lora_alpha=job["alpha"],
        lora_dropout=0.0,
        target_modules=["c_attn", "c_proj", "c_fc"],
        fan_in_fan_out=True,
        **options,
    )


def peft_model(folder, job, dtype):
    """The same with the adapters of `peft`, and a head that is trained as a whole."""
    from peft import TaskType, get_peft_model

    config = lora_config(job, task_type=TaskType.SEQ_CLS, modules_to_save=["score"])
    return get_peft_model(transformers_model(folder, job, dtype), config)


def peft_language_model(folder, job, dtype):
    """A language model with the adapters of `peft`, and a frozen head."""
    from peft import TaskType, get_peft_model
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(
        folder,
        dtype=dtype,
        attn_implementation="sdpa",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
    )
    return get_peft_model(model, lora_config(job, task_type=TaskType.CAUSAL_LM))


def trainable_count(model):
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
