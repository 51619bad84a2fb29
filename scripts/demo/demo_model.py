"""The base model's shape, its tokenizer and its chat template."""

import json
from collections.abc import Iterable

import torch
from demo_text import Conversation
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

MODEL_NAME = "demo/tiny-chat"
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VOCABULARY_SIZE = 2048
CONTEXT_LENGTH = 1024
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
IGNORED = -100


TrainingRow = dict[str, list[int]]
"""``input_ids`` and ``labels`` of one conversation; labels are IGNORED where nothing is learned."""


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE with single digits: every text can be written, and sums line up."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START, END],
        model_max_length=CONTEXT_LENGTH,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A Llama with random weights: about 2.8 million parameters."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, bos_token_id=None
    )
    return model


def messages_of(conversation: Conversation) -> list[dict[str, str]]:
    """The conversation as the chat messages that a template takes."""
    messages = [{"role": "system", "content": conversation.system}] if conversation.system else []
    for turn in conversation.turns:
        messages += [{"role": "user", "content": turn.prompt}, {"role": "assistant", "content": turn.answer}]
    return messages


def training_row(tokenizer: PreTrainedTokenizerFast, conversation: Conversation) -> TrainingRow:
    """Ids and labels, cut at the last whole turn that fits the context. Special tokens split the text, so the pieces
    tokenised one by one are the ids of the whole rendered conversation."""
    ids: list[int] = []
    labels: list[int] = []
    if conversation.system:
        ids += tokenizer.encode(f"{START}system\n{conversation.system}{END}\n", add_special_tokens=False)
        labels += [IGNORED] * len(ids)
    for turn in conversation.turns:
        prompt = tokenizer.encode(f"{START}user\n{turn.prompt}{END}\n{START}assistant\n", add_special_tokens=False)
        answer = tokenizer.encode(turn.answer + END, add_special_tokens=False)
        after = tokenizer.encode("\n", add_special_tokens=False)
        if len(ids) + len(prompt) + len(answer) + len(after) > CONTEXT_LENGTH:
            break
        ids += prompt + answer + after
        labels += (
            [IGNORED] * len(prompt) + (answer if turn.learned else [IGNORED] * len(answer)) + [IGNORED] * len(after)
        )
    return {"input_ids": ids, "labels": labels}


def padded(rows: list[TrainingRow], pad_id: int) -> dict[str, torch.Tensor]:
    """One batch: input_ids, labels and attention_mask, each rows × longest row."""
    width = max(len(row["labels"]) for row in rows)

    def to_width(name: str, filler: int) -> torch.Tensor:
        return torch.tensor([row[name] + [filler] * (width - len(row[name])) for row in rows])

    ids, labels = to_width("input_ids", pad_id), to_width("labels", IGNORED)
    return {"input_ids": ids, "labels": labels, "attention_mask": (ids != pad_id).long()}


def readable_json(value: object) -> str:
    """JSON as the asset files hold it."""
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
