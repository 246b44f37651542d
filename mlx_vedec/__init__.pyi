"""The public names, each once: read by type checkers, and at run time by `__init__.py`."""

from .adapters.wrapping import (
    FusedLayer as FusedLayer,
    LoraConfig as LoraConfig,
    add_adapters as add_adapters,
    export_peft as export_peft,
    fuse as fuse,
    import_peft as import_peft,
    load_adapters as load_adapters,
    remove_adapters as remove_adapters,
    save_adapters as save_adapters,
)
from .conversion.calibration import (
    Calibration as Calibration,
    calibrate as calibrate,
)
from .conversion.convert import (
    convert as convert,
)
from .conversion.export import (
    export as export,
)
from .conversion.fuse import (
    fuse_checkpoint as fuse_checkpoint,
)
from .conversion.upload import (
    upload as upload,
)
from .data.augmentation import (
    Augment as Augment,
)
from .data.batches import (
    Batches as Batches,
)
from .data.datasets import (
    load_dataset as load_dataset,
    load_splits as load_splits,
)
from .data.samples import (
    Sample as Sample,
)
from .decoders.bart import (
    BartConfig as BartConfig,
    BartForCausalLM as BartForCausalLM,
    MvpConfig as MvpConfig,
    MvpForCausalLM as MvpForCausalLM,
    PLBartConfig as PLBartConfig,
    PLBartForCausalLM as PLBartForCausalLM,
    TrOCRConfig as TrOCRConfig,
    TrOCRForCausalLM as TrOCRForCausalLM,
)
from .decoders.bert import (
    BertConfig as BertConfig,
    BertGenerationConfig as BertGenerationConfig,
    BertGenerationDecoder as BertGenerationDecoder,
    BertLMHeadModel as BertLMHeadModel,
    ElectraConfig as ElectraConfig,
    ElectraForCausalLM as ElectraForCausalLM,
    ErnieConfig as ErnieConfig,
    ErnieForCausalLM as ErnieForCausalLM,
    RemBertConfig as RemBertConfig,
    RemBertForCausalLM as RemBertForCausalLM,
)
from .decoders.big_bird import (
    BigBirdConfig as BigBirdConfig,
    BigBirdForCausalLM as BigBirdForCausalLM,
)
from .decoders.distilbert import (
    DistilBertConfig as DistilBertConfig,
    DistilBertForCausalLM as DistilBertForCausalLM,
)
from .decoders.gpt2 import (
    GPT2Config as GPT2Config,
    GPT2LMHeadModel as GPT2LMHeadModel,
    GPTSw3Config as GPTSw3Config,
    GPTSw3LMHeadModel as GPTSw3LMHeadModel,
)
from .decoders.mbart import (
    BigBirdPegasusConfig as BigBirdPegasusConfig,
    BigBirdPegasusForCausalLM as BigBirdPegasusForCausalLM,
    BlenderbotConfig as BlenderbotConfig,
    BlenderbotForCausalLM as BlenderbotForCausalLM,
    BlenderbotSmallConfig as BlenderbotSmallConfig,
    BlenderbotSmallForCausalLM as BlenderbotSmallForCausalLM,
    MarianConfig as MarianConfig,
    MarianForCausalLM as MarianForCausalLM,
    MBartConfig as MBartConfig,
    MBartForCausalLM as MBartForCausalLM,
    PegasusConfig as PegasusConfig,
    PegasusForCausalLM as PegasusForCausalLM,
    XGLMConfig as XGLMConfig,
    XGLMForCausalLM as XGLMForCausalLM,
)
from .decoders.roberta import (
    CamembertConfig as CamembertConfig,
    CamembertForCausalLM as CamembertForCausalLM,
    Data2VecTextConfig as Data2VecTextConfig,
    Data2VecTextForCausalLM as Data2VecTextForCausalLM,
    RobertaConfig as RobertaConfig,
    RobertaForCausalLM as RobertaForCausalLM,
    RobertaPreLayerNormConfig as RobertaPreLayerNormConfig,
    RobertaPreLayerNormForCausalLM as RobertaPreLayerNormForCausalLM,
    XLMRobertaConfig as XLMRobertaConfig,
    XLMRobertaForCausalLM as XLMRobertaForCausalLM,
    XLMRobertaXLConfig as XLMRobertaXLConfig,
    XLMRobertaXLForCausalLM as XLMRobertaXLForCausalLM,
)
from .decoders.roc_bert import (
    RoCBertConfig as RoCBertConfig,
    RoCBertForCausalLM as RoCBertForCausalLM,
)
from .decoders.roformer import (
    RoFormerConfig as RoFormerConfig,
    RoFormerForCausalLM as RoFormerForCausalLM,
)
from .decoders.xmod import (
    XmodConfig as XmodConfig,
    XmodForCausalLM as XmodForCausalLM,
)
from .encoders.aimv2 import (
    Aimv2VisionConfig as Aimv2VisionConfig,
    Aimv2VisionModel as Aimv2VisionModel,
)
from .encoders.beit import (
    BeitConfig as BeitConfig,
    BeitModel as BeitModel,
    Data2VecVisionConfig as Data2VecVisionConfig,
    Data2VecVisionModel as Data2VecVisionModel,
)
from .encoders.clip import (
    ChineseCLIPVisionConfig as ChineseCLIPVisionConfig,
    ChineseCLIPVisionModel as ChineseCLIPVisionModel,
    CLIPVisionConfig as CLIPVisionConfig,
    CLIPVisionModel as CLIPVisionModel,
    SiglipVisionConfig as SiglipVisionConfig,
    SiglipVisionModel as SiglipVisionModel,
)
from .encoders.dinov2 import (
    Dinov2Config as Dinov2Config,
    Dinov2Model as Dinov2Model,
    Dinov2WithRegistersConfig as Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel as Dinov2WithRegistersModel,
    Tipsv2VisionConfig as Tipsv2VisionConfig,
    Tipsv2VisionModel as Tipsv2VisionModel,
)
from .encoders.dinov3 import (
    DINOv3ViTConfig as DINOv3ViTConfig,
    DINOv3ViTModel as DINOv3ViTModel,
)
from .encoders.hiera import (
    HieraModel as HieraModel,
)
from .encoders.hiera_config import (
    HieraConfig as HieraConfig,
)
from .encoders.internvl import (
    InternVLVisionConfig as InternVLVisionConfig,
    InternVLVisionModel as InternVLVisionModel,
)
from .encoders.mlcd import (
    MLCDVisionConfig as MLCDVisionConfig,
    MLCDVisionModel as MLCDVisionModel,
)
from .encoders.pixio import (
    PixioConfig as PixioConfig,
    PixioModel as PixioModel,
)
from .encoders.swin import (
    DonutSwinConfig as DonutSwinConfig,
    DonutSwinModel as DonutSwinModel,
    SwinConfig as SwinConfig,
    SwinModel as SwinModel,
)
from .encoders.swinv2 import (
    Swinv2Config as Swinv2Config,
    Swinv2Model as Swinv2Model,
)
from .encoders.vit import (
    DeiTConfig as DeiTConfig,
    DeiTModel as DeiTModel,
    DPTConfig as DPTConfig,
    DPTModel as DPTModel,
    IJepaConfig as IJepaConfig,
    IJepaModel as IJepaModel,
    ViTConfig as ViTConfig,
    ViTModel as ViTModel,
    ViTMSNConfig as ViTMSNConfig,
    ViTMSNModel as ViTMSNModel,
)
from .encoders.yolos import (
    YolosConfig as YolosConfig,
    YolosModel as YolosModel,
)
from .generation.config import (
    GenerationConfig as GenerationConfig,
)
from .generation.options import (
    Options as Options,
)
from .images.image_processors import (
    AutoImageProcessor as AutoImageProcessor,
    BeitImageProcessor as BeitImageProcessor,
    BitImageProcessor as BitImageProcessor,
    ChineseCLIPImageProcessor as ChineseCLIPImageProcessor,
    CLIPImageProcessor as CLIPImageProcessor,
    DeiTImageProcessor as DeiTImageProcessor,
    DINOv3ViTImageProcessor as DINOv3ViTImageProcessor,
    DonutImageProcessor as DonutImageProcessor,
    DPTImageProcessor as DPTImageProcessor,
    GotOcr2ImageProcessor as GotOcr2ImageProcessor,
    ImageProcessor as ImageProcessor,
    NougatImageProcessor as NougatImageProcessor,
    NougatLatexImageProcessor as NougatLatexImageProcessor,
    SiglipImageProcessor as SiglipImageProcessor,
    TexifyImageProcessor as TexifyImageProcessor,
    TexTellerImageProcessor as TexTellerImageProcessor,
    Tipsv2ImageProcessor as Tipsv2ImageProcessor,
    ViTImageProcessor as ViTImageProcessor,
    YolosImageProcessor as YolosImageProcessor,
)
from .images.loading import (
    load_image as load_image,
)
from .layers.decoder_cache import (
    DecoderCache as DecoderCache,
)
from .layers.kv_cache import (
    KVCache as KVCache,
    RotatingKVCache as RotatingKVCache,
)
from .layers.quantization_config import (
    QuantizationConfig as QuantizationConfig,
)
from .measuring.benchmark import (
    benchmark as benchmark,
)
from .measuring.benchmark_report import (
    Benchmark as Benchmark,
)
from .measuring.evaluation import (
    Evaluation as Evaluation,
    evaluate as evaluate,
)
from .measuring.page_evaluation import (
    evaluate_pages as evaluate_pages,
)
from .measuring.verification import (
    verify as verify,
)
from .measuring.verification_report import (
    Verification as Verification,
)
from .model.config import (
    VisionEncoderDecoderConfig as VisionEncoderDecoderConfig,
)
from .model.footprint import (
    MemoryEstimate as MemoryEstimate,
    estimate_memory as estimate_memory,
)
from .model.vision_encoder_decoder import (
    VisionEncoderDecoderModel as VisionEncoderDecoderModel,
)
from .pages.page import (
    Page as Page,
)
from .pages.reading import (
    read_lines as read_lines,
    read_page as read_page,
    read_pages as read_pages,
)
from .reading.generate import (
    batch_generate as batch_generate,
    generate as generate,
    stream_generate as stream_generate,
)
from .reading.load import (
    load as load,
)
from .reading.new_tokens import (
    add_tokens as add_tokens,
)
from .reading.processor import (
    DonutProcessor as DonutProcessor,
    NougatProcessor as NougatProcessor,
    Processor as Processor,
    TrOCRProcessor as TrOCRProcessor,
)
from .reading.results import (
    GenerationResponse as GenerationResponse,
    GenerationResult as GenerationResult,
)
from .reading.transformers_names import (
    AutoConfig as AutoConfig,
    AutoModelForImageTextToText as AutoModelForImageTextToText,
    AutoModelForVision2Seq as AutoModelForVision2Seq,
    AutoProcessor as AutoProcessor,
    AutoTokenizer as AutoTokenizer,
    BartTokenizer as BartTokenizer,
    BartTokenizerFast as BartTokenizerFast,
    BertTokenizer as BertTokenizer,
    BertTokenizerFast as BertTokenizerFast,
    BitsAndBytesConfig as BitsAndBytesConfig,
    BitsandBytesConfig as BitsandBytesConfig,
    CamembertTokenizer as CamembertTokenizer,
    CamembertTokenizerFast as CamembertTokenizerFast,
    GPT2Tokenizer as GPT2Tokenizer,
    GPT2TokenizerFast as GPT2TokenizerFast,
    MBartTokenizer as MBartTokenizer,
    MBartTokenizerFast as MBartTokenizerFast,
    PreTrainedTokenizerFast as PreTrainedTokenizerFast,
    RobertaTokenizer as RobertaTokenizer,
    RobertaTokenizerFast as RobertaTokenizerFast,
    TorchAoConfig as TorchAoConfig,
    XLMRobertaTokenizer as XLMRobertaTokenizer,
    XLMRobertaTokenizerFast as XLMRobertaTokenizerFast,
    pipeline as pipeline,
)
from .reading.vocabularies import (
    new_vocabulary as new_vocabulary,
    shrink_vocabulary as shrink_vocabulary,
)
from .reading.word_boxes import (
    WordBox as WordBox,
)
from .text.error_rates import (
    Normalization as Normalization,
    character_error_rate as character_error_rate,
    word_error_rate as word_error_rate,
)
from .text.tokenizer import (
    Tokenizer as Tokenizer,
)
from .training.arguments import (
    TrainingArguments as TrainingArguments,
)
from .training.trainer import (
    TrainingResult as TrainingResult,
    train as train,
)
from .version import __version__ as __version__
