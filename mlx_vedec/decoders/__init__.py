"""Text decoders by Hugging Face's model type, a file for each family.

Imports layers and checkpoints, and reads no files.
"""

from __future__ import annotations

from typing import Any

from ..checkpoints.families import Families
from .decoder import Decoder

DECODERS: Families[Decoder[Any]] = Families(
    __name__,
    {
        "bart": "bart.BartForCausalLM",
        "bert": "bert.BertLMHeadModel",
        "bert-generation": "bert.BertGenerationDecoder",
        "big_bird": "big_bird.BigBirdForCausalLM",
        "bigbird_pegasus": "mbart.BigBirdPegasusForCausalLM",
        "blenderbot": "mbart.BlenderbotForCausalLM",
        "blenderbot-small": "mbart.BlenderbotSmallForCausalLM",
        "camembert": "roberta.CamembertForCausalLM",
        "data2vec-text": "roberta.Data2VecTextForCausalLM",
        "distilbert": "distilbert.DistilBertForCausalLM",
        "electra": "bert.ElectraForCausalLM",
        "ernie": "bert.ErnieForCausalLM",
        "gpt-sw3": "gpt2.GPTSw3LMHeadModel",
        "gpt2": "gpt2.GPT2LMHeadModel",
        "marian": "mbart.MarianForCausalLM",
        "mbart": "mbart.MBartForCausalLM",
        "mvp": "bart.MvpForCausalLM",
        "pegasus": "mbart.PegasusForCausalLM",
        "plbart": "bart.PLBartForCausalLM",
        "rembert": "bert.RemBertForCausalLM",
        "roberta": "roberta.RobertaForCausalLM",
        "roberta-prelayernorm": "roberta.RobertaPreLayerNormForCausalLM",
        "roc_bert": "roc_bert.RoCBertForCausalLM",
        "roformer": "roformer.RoFormerForCausalLM",
        "trocr": "bart.TrOCRForCausalLM",
        "xglm": "mbart.XGLMForCausalLM",
        "xlm-roberta": "roberta.XLMRobertaForCausalLM",
        "xlm-roberta-xl": "roberta.XLMRobertaXLForCausalLM",
        "xmod": "xmod.XmodForCausalLM",
    },
)
