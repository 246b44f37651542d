"""Text decoders by Hugging Face's model type, a file for each family.

Imports layers and checkpoints, and reads no files.
"""

from __future__ import annotations

from typing import Any

from .bart import BartForCausalLM, MvpForCausalLM, PLBartForCausalLM, TrOCRForCausalLM
from .bert import BertGenerationDecoder, BertLMHeadModel, ErnieForCausalLM
from .big_bird import BigBirdForCausalLM
from .bigbird_pegasus import BigBirdPegasusForCausalLM
from .decoder import Decoder
from .distilbert import DistilBertForCausalLM
from .electra import ElectraForCausalLM
from .gpt2 import GPT2LMHeadModel, GPTSw3LMHeadModel
from .mbart import (
    BlenderbotForCausalLM,
    BlenderbotSmallForCausalLM,
    MarianForCausalLM,
    MBartForCausalLM,
    PegasusForCausalLM,
)
from .rembert import RemBertForCausalLM
from .roberta import (
    CamembertForCausalLM,
    Data2VecTextForCausalLM,
    RobertaForCausalLM,
    RobertaPreLayerNormForCausalLM,
    XLMRobertaForCausalLM,
    XLMRobertaXLForCausalLM,
)
from .roc_bert import RoCBertForCausalLM
from .roformer import RoFormerForCausalLM
from .xglm import XGLMForCausalLM
from .xmod import XmodForCausalLM

DECODERS: dict[str, type[Decoder[Any]]] = {
    "bart": BartForCausalLM,
    "bert": BertLMHeadModel,
    "bert-generation": BertGenerationDecoder,
    "big_bird": BigBirdForCausalLM,
    "bigbird_pegasus": BigBirdPegasusForCausalLM,
    "blenderbot": BlenderbotForCausalLM,
    "blenderbot-small": BlenderbotSmallForCausalLM,
    "camembert": CamembertForCausalLM,
    "data2vec-text": Data2VecTextForCausalLM,
    "distilbert": DistilBertForCausalLM,
    "electra": ElectraForCausalLM,
    "ernie": ErnieForCausalLM,
    "gpt-sw3": GPTSw3LMHeadModel,
    "gpt2": GPT2LMHeadModel,
    "marian": MarianForCausalLM,
    "mbart": MBartForCausalLM,
    "mvp": MvpForCausalLM,
    "pegasus": PegasusForCausalLM,
    "plbart": PLBartForCausalLM,
    "rembert": RemBertForCausalLM,
    "roberta": RobertaForCausalLM,
    "roberta-prelayernorm": RobertaPreLayerNormForCausalLM,
    "roc_bert": RoCBertForCausalLM,
    "roformer": RoFormerForCausalLM,
    "trocr": TrOCRForCausalLM,
    "xglm": XGLMForCausalLM,
    "xlm-roberta": XLMRobertaForCausalLM,
    "xlm-roberta-xl": XLMRobertaXLForCausalLM,
    "xmod": XmodForCausalLM,
}
