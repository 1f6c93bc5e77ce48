"""Constants and signatures of oneDNN in C; written by make_dnnl_constants.py."""

# fmt: off
HEADERS = "3.2.0"
STATUS = {
    0: ('success', 'The operation was successful'),
    1: ('out_of_memory', 'The operation failed due to an out-of-memory condition'),
    2: ('invalid_arguments', 'The operation failed because of incorrect function arguments'),
    3: ('unimplemented', 'The operation failed because requested functionality is not implemented'),
    4: ('last_impl_reached', 'The last available implementation is reached'),
    5: ('runtime_error', 'Primitive or engine failed on execution'),
    6: ('not_required', 'Queried element is not required for given primitive'),
    7: ('invalid_graph', 'The graph is not legitimate'),
    8: ('invalid_graph_op', 'The operation is not legitimate according to op schema'),
    9: ('invalid_shape', 'The shape cannot be inferred or compiled'),
    10: ('invalid_data_type', 'The data type cannot be inferred or compiled'),
}

# dnnl_data_type_t
DATA_TYPE_UNDEF = 0
F16 = 1
BF16 = 2
F32 = 3
S32 = 4
S8 = 5
U8 = 6
F64 = 7
BOOLEAN = 8
DATA_TYPE_MAX = 32767

# dnnl_engine_kind_t
ANY_ENGINE = 0
CPU = 1
GPU = 2

# dnnl_stream_flags_t
STREAM_IN_ORDER = 1
STREAM_OUT_OF_ORDER = 2
STREAM_DEFAULT_FLAGS = 1

# dnnl_prop_kind_t
PROP_KIND_UNDEF = 0
FORWARD_TRAINING = 64
FORWARD_INFERENCE = 96
FORWARD = 64
BACKWARD = 128
BACKWARD_DATA = 160
BACKWARD_WEIGHTS = 192
BACKWARD_BIAS = 193

# dnnl_alg_kind_t
ALG_KIND_UNDEF = 0
CONVOLUTION_DIRECT = 1
CONVOLUTION_WINOGRAD = 2
CONVOLUTION_AUTO = 3
DECONVOLUTION_DIRECT = 10
DECONVOLUTION_WINOGRAD = 11
ELTWISE_RELU = 32
ELTWISE_TANH = 33
ELTWISE_ELU = 34
ELTWISE_SQUARE = 35
ELTWISE_ABS = 36
ELTWISE_SQRT = 37
ELTWISE_LINEAR = 38
ELTWISE_SOFT_RELU = 39
ELTWISE_HARDSIGMOID = 40
ELTWISE_LOGISTIC = 41
ELTWISE_EXP = 42
ELTWISE_GELU_TANH = 43
ELTWISE_SWISH = 44
ELTWISE_LOG = 45
ELTWISE_CLIP = 46
ELTWISE_CLIP_V2 = 47
ELTWISE_POW = 48
ELTWISE_GELU_ERF = 49
ELTWISE_ROUND = 50
ELTWISE_MISH = 51
ELTWISE_HARDSWISH = 52
ELTWISE_RELU_USE_DST_FOR_BWD = 256
ELTWISE_TANH_USE_DST_FOR_BWD = 257
ELTWISE_ELU_USE_DST_FOR_BWD = 258
ELTWISE_SQRT_USE_DST_FOR_BWD = 259
ELTWISE_LOGISTIC_USE_DST_FOR_BWD = 260
ELTWISE_EXP_USE_DST_FOR_BWD = 261
ELTWISE_CLIP_V2_USE_DST_FOR_BWD = 262
POOLING_MAX = 511
POOLING_AVG_INCLUDE_PADDING = 767
POOLING_AVG_EXCLUDE_PADDING = 1023
LRN_ACROSS_CHANNELS = 2815
LRN_WITHIN_CHANNEL = 3071
VANILLA_RNN = 8191
VANILLA_LSTM = 12287
VANILLA_GRU = 16383
LBR_GRU = 20479
VANILLA_AUGRU = 24575
LBR_AUGRU = 28671
BINARY_ADD = 131056
BINARY_MUL = 131057
BINARY_MAX = 131058
BINARY_MIN = 131059
BINARY_DIV = 131060
BINARY_SUB = 131061
BINARY_GE = 131062
BINARY_GT = 131063
BINARY_LE = 131064
BINARY_LT = 131065
BINARY_EQ = 131066
BINARY_NE = 131067
RESAMPLING_NEAREST = 196592
RESAMPLING_LINEAR = 196593
REDUCTION_MAX = 196594
REDUCTION_MIN = 196595
REDUCTION_SUM = 196596
REDUCTION_MUL = 196597
REDUCTION_MEAN = 196598
REDUCTION_NORM_LP_MAX = 196599
REDUCTION_NORM_LP_SUM = 196600
REDUCTION_NORM_LP_POWER_P_MAX = 196601
REDUCTION_NORM_LP_POWER_P_SUM = 196602
SOFTMAX_ACCURATE = 196608
SOFTMAX_LOG = 196609

# dnnl_normalization_flags_t
NORMALIZATION_FLAGS_NONE = 0
USE_GLOBAL_STATS = 1
USE_SCALE = 2
USE_SHIFT = 4
FUSE_NORM_RELU = 8
FUSE_NORM_ADD_RELU = 16

# dnnl_rnn_flags_t
RNN_FLAGS_UNDEF = 0
RNN_FLAGS_DIFF_WEIGHTS_OVERWRITE = 1

# dnnl_rnn_direction_t
RNN_DIRECTION_UNDEF = 0
UNIDIRECTIONAL_LEFT2RIGHT = 1
UNIDIRECTIONAL_RIGHT2LEFT = 2
BIDIRECTIONAL_CONCAT = 3
BIDIRECTIONAL_SUM = 4

# dnnl_scratchpad_mode_t
SCRATCHPAD_MODE_LIBRARY = 0
SCRATCHPAD_MODE_USER = 1

# dnnl_query_t
QUERY_UNDEF = 0
QUERY_ENGINE = 1
QUERY_PRIMITIVE_KIND = 2
QUERY_NUM_OF_INPUTS_S32 = 3
QUERY_NUM_OF_OUTPUTS_S32 = 4
QUERY_TIME_ESTIMATE_F64 = 5
QUERY_MEMORY_CONSUMPTION_S64 = 6
QUERY_SCRATCHPAD_ENGINE = 7
QUERY_IMPL_INFO_STR = 8
QUERY_REORDER_SRC_ENGINE = 9
QUERY_REORDER_DST_ENGINE = 10
QUERY_PROP_KIND = 11
QUERY_CACHE_BLOB_ID_SIZE_S64 = 12
QUERY_CACHE_BLOB_ID = 13
QUERY_STRIDES = 14
QUERY_DILATIONS = 15
QUERY_PADDING_L = 16
QUERY_PADDING_R = 17
QUERY_EPSILON_F32 = 18
QUERY_FLAGS = 19
QUERY_ALG_KIND = 20
QUERY_ALPHA_F32 = 21
QUERY_BETA_F32 = 22
QUERY_AXIS_S32 = 23
QUERY_LOCAL_SIZE_S64 = 24
QUERY_K_F32 = 25
QUERY_P_F32 = 26
QUERY_FACTORS = 27
QUERY_CELL_KIND = 28
QUERY_DIRECTION = 29
QUERY_ACTIVATION_KIND = 30
QUERY_KERNEL = 31
QUERY_GROUP_SIZE_S64 = 32
QUERY_SOME_MD = 128
QUERY_SRC_MD = 129
QUERY_DIFF_SRC_MD = 130
QUERY_WEIGHTS_MD = 131
QUERY_DIFF_WEIGHTS_MD = 132
QUERY_DST_MD = 133
QUERY_DIFF_DST_MD = 134
QUERY_WORKSPACE_MD = 135
QUERY_SCRATCHPAD_MD = 136
QUERY_EXEC_ARG_MD = 255
QUERY_NDIMS_S32 = 256
QUERY_DIMS = 257
QUERY_DATA_TYPE = 258
QUERY_SUBMEMORY_OFFSET_S64 = 259
QUERY_PADDED_DIMS = 260
QUERY_PADDED_OFFSETS = 261
QUERY_FORMAT_KIND = 262
QUERY_INNER_NBLKS_S32 = 263
QUERY_INNER_BLKS = 264
QUERY_INNER_IDXS = 265
QUERY_MAX = 32767

# arguments of a primitive
ARG_SRC_0 = 1
ARG_SRC = 1
ARG_SRC_LAYER = 1
ARG_FROM = 1
ARG_SRC_1 = 2
ARG_SRC_ITER = 2
ARG_SRC_2 = 3
ARG_SRC_ITER_C = 3
ARG_SRC_3 = 4
ARG_AUGRU_ATTENTION = 4
ARG_DST_0 = 17
ARG_DST = 17
ARG_TO = 17
ARG_DST_LAYER = 17
ARG_DST_1 = 18
ARG_DST_ITER = 18
ARG_DST_2 = 19
ARG_DST_ITER_C = 19
ARG_WEIGHTS_0 = 33
ARG_WEIGHTS = 33
ARG_WEIGHTS_LAYER = 33
ARG_WEIGHTS_1 = 34
ARG_WEIGHTS_ITER = 34
ARG_WEIGHTS_2 = 35
ARG_WEIGHTS_PEEPHOLE = 35
ARG_WEIGHTS_3 = 36
ARG_WEIGHTS_PROJECTION = 36
ARG_BIAS = 41
ARG_MEAN = 49
ARG_VARIANCE = 50
ARG_SCALE = 51
ARG_SHIFT = 52
ARG_WORKSPACE = 64
ARG_SCRATCHPAD = 80
ARG_DIFF_SRC_0 = 129
ARG_DIFF_SRC = 129
ARG_DIFF_SRC_LAYER = 129
ARG_DIFF_SRC_1 = 130
ARG_DIFF_SRC_ITER = 130
ARG_DIFF_SRC_2 = 131
ARG_DIFF_SRC_ITER_C = 131
ARG_DIFF_SRC_3 = 132
ARG_DIFF_AUGRU_ATTENTION = 132
ARG_DIFF_DST_0 = 145
ARG_DIFF_DST = 145
ARG_DIFF_DST_LAYER = 145
ARG_DIFF_DST_1 = 146
ARG_DIFF_DST_ITER = 146
ARG_DIFF_DST_2 = 147
ARG_DIFF_DST_ITER_C = 147
ARG_DIFF_WEIGHTS_0 = 161
ARG_DIFF_WEIGHTS = 161
ARG_DIFF_WEIGHTS_LAYER = 161
ARG_DIFF_WEIGHTS_1 = 162
ARG_DIFF_WEIGHTS_ITER = 162
ARG_DIFF_WEIGHTS_2 = 163
ARG_DIFF_WEIGHTS_PEEPHOLE = 163
ARG_DIFF_WEIGHTS_3 = 164
ARG_DIFF_WEIGHTS_PROJECTION = 164
ARG_DIFF_BIAS = 169
ARG_DIFF_SCALE = 255
ARG_DIFF_SHIFT = 256
ARG_ATTR_OUTPUT_SCALES = 513
ARG_MULTIPLE_SRC = 1024
ARG_MULTIPLE_DST = 2048
ARG_ATTR_SCALES = 4096
ARG_ATTR_ZERO_POINTS = 8192
ARG_ATTR_POST_OP_DW = 16384
ARG_ATTR_MULTIPLE_POST_OP_BASE = 32768

# format tags: all but this one are written as strides
FORMAT_TAG_ANY = 1


# parameters: pointer, int, unsigned, size (n), int64 (q), float
SIGNATURES = {
    "dnnl_engine_create": "pin",
    "dnnl_stream_create": "ppu",
    "dnnl_primitive_desc_next_impl": "p",
    "dnnl_primitive_desc_destroy": "p",
    "dnnl_primitive_desc_query": "piip",
    "dnnl_primitive_create": "pp",
    "dnnl_primitive_create_from_cache_blob": "ppnp",
    "dnnl_primitive_execute": "ppip",
    "dnnl_primitive_destroy": "p",
    "dnnl_primitive_attr_create": "p",
    "dnnl_primitive_attr_destroy": "p",
    "dnnl_primitive_attr_set_scratchpad_mode": "pi",
    "dnnl_primitive_attr_set_post_ops": "pp",
    "dnnl_post_ops_create": "p",
    "dnnl_post_ops_destroy": "p",
    "dnnl_post_ops_append_sum": "pfii",
    "dnnl_post_ops_append_eltwise": "piff",
    "dnnl_post_ops_append_dw": "piiiqqq",
    "dnnl_post_ops_append_binary": "pip",
    "dnnl_post_ops_append_prelu": "pi",
    "dnnl_memory_desc_destroy": "p",
    "dnnl_memory_desc_clone": "pp",
    "dnnl_memory_desc_create_with_strides": "pipip",
    "dnnl_memory_desc_create_with_tag": "pipii",
    "dnnl_memory_desc_create_with_csr_encoding": "pipiqii",
    "dnnl_memory_desc_query": "pip",
    "dnnl_memory_desc_query_v2": "piip",
    "dnnl_memory_create": "pppp",
    "dnnl_memory_create_v2": "pppip",
    "dnnl_memory_set_data_handle": "pp",
    "dnnl_memory_set_data_handle_v2": "ppi",
    "dnnl_memory_destroy": "p",
    "dnnl_reorder_primitive_desc_create": "pppppp",
    "dnnl_concat_primitive_desc_create": "pppiipp",
    "dnnl_sum_primitive_desc_create": "pppippp",
    "dnnl_binary_primitive_desc_create": "ppipppp",
    "dnnl_convolution_forward_primitive_desc_create": "ppiippppppppp",
    "dnnl_convolution_backward_data_primitive_desc_create": "ppippppppppp",
    "dnnl_convolution_backward_weights_primitive_desc_create": "ppipppppppppp",
    "dnnl_deconvolution_forward_primitive_desc_create": "ppiippppppppp",
    "dnnl_deconvolution_backward_data_primitive_desc_create": "ppippppppppp",
    "dnnl_deconvolution_backward_weights_primitive_desc_create": "ppipppppppppp",
    "dnnl_shuffle_forward_primitive_desc_create": "ppippiqp",
    "dnnl_shuffle_backward_primitive_desc_create": "ppppiqpp",
    "dnnl_eltwise_forward_primitive_desc_create": "ppiippffp",
    "dnnl_eltwise_backward_primitive_desc_create": "ppipppffpp",
    "dnnl_softmax_forward_primitive_desc_create": "ppiippip",
    "dnnl_softmax_backward_primitive_desc_create": "ppipppipp",
    "dnnl_pooling_forward_primitive_desc_create": "ppiipppppppp",
    "dnnl_pooling_backward_primitive_desc_create": "ppippppppppp",
    "dnnl_prelu_forward_primitive_desc_create": "ppipppp",
    "dnnl_prelu_backward_primitive_desc_create": "ppppppppp",
    "dnnl_lrn_forward_primitive_desc_create": "ppiippqfffp",
    "dnnl_lrn_backward_primitive_desc_create": "ppipppqfffpp",
    "dnnl_batch_normalization_forward_primitive_desc_create": "ppippfup",
    "dnnl_batch_normalization_backward_primitive_desc_create": "ppipppfupp",
    "dnnl_layer_normalization_forward_primitive_desc_create": "ppipppfup",
    "dnnl_layer_normalization_backward_primitive_desc_create": "ppippppfupp",
    "dnnl_inner_product_forward_primitive_desc_create": "ppippppp",
    "dnnl_inner_product_backward_data_primitive_desc_create": "ppppppp",
    "dnnl_inner_product_backward_weights_primitive_desc_create": "pppppppp",
    "dnnl_vanilla_rnn_forward_primitive_desc_create": "ppiiipppppppuffp",
    "dnnl_vanilla_rnn_backward_primitive_desc_create": "ppiiippppppppppppppuffpp",
    "dnnl_lstm_forward_primitive_desc_create": "ppiipppppppppppup",
    "dnnl_lstm_backward_primitive_desc_create": "ppiippppppppppppppppppppppupp",
    "dnnl_gru_forward_primitive_desc_create": "ppiipppppppup",
    "dnnl_gru_backward_primitive_desc_create": "ppiippppppppppppppupp",
    "dnnl_lbr_gru_forward_primitive_desc_create": "ppiipppppppup",
    "dnnl_lbr_gru_backward_primitive_desc_create": "ppiippppppppppppppupp",
    "dnnl_augru_forward_primitive_desc_create": "ppiippppppppup",
    "dnnl_augru_backward_primitive_desc_create": "ppiippppppppppppppppupp",
    "dnnl_lbr_augru_forward_primitive_desc_create": "ppiippppppppup",
    "dnnl_lbr_augru_backward_primitive_desc_create": "ppiippppppppppppppppupp",
    "dnnl_matmul_primitive_desc_create": "ppppppp",
    "dnnl_resampling_forward_primitive_desc_create": "ppiipppp",
    "dnnl_resampling_backward_primitive_desc_create": "ppippppp",
    "dnnl_reduction_primitive_desc_create": "ppippffp",
}
