"""A random Llama of 100,000 parameters that vLLM serves, and LoRA adapters that change its answers.

Byte-level tokens, so any text goes in; what comes out is noise, but at temperature 0 always the
same noise.
"""

from __future__ import annotations

from pathlib import Path

CHAT_TEMPLATE = (
    "<s>{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"]


def make_tiny_llama(model_dir: Path) -> Path:
    """Write the model, its tokenizer and its chat template to ``model_dir``."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *letters])}
    core = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<s>",
                                        eos_token="</s>")  # fmt: skip
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[3:]})
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(model_dir)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary) + 2, hidden_size=64, intermediate_size=128,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(model_dir)
    return model_dir


def make_adapter(model_dir: Path, adapter_dir: Path, seed: int) -> Path:
    """Write a random LoRA adapter, large enough to change every answer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    torch.manual_seed(seed)
    config = LoraConfig(r=8, lora_alpha=64, init_lora_weights=False,
                        target_modules=["q_proj", "v_proj", "down_proj"])  # fmt: skip
    model = get_peft_model(LlamaForCausalLM.from_pretrained(model_dir), config)
    model.save_pretrained(adapter_dir)
    return adapter_dir
