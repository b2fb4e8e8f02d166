/**
 * Operators of com.microsoft that a model may use: those with a CPU kernel in ONNX Runtime 1.30 that quantized and fused
 * models consist of. Others of that domain (text generation, tokenizers, compiled contexts, device-bound ones) are refused.
 * Source: the schemas of ONNX Runtime 1.30 (docs/ContribOperators.md); the grammar is that of `parseSchemas`.
 */
export const MICROSOFT_DOMAIN = `
Attention 1 | 2-7 | 1-2 | do_rotary=i mask_filter_value=f num_heads!=i past_present_share_buffer=i
    qkv_hidden_sizes=is rotary_embedding_dim=i scale=f unidirectional=i
BiasGelu 1 | 2 | 1
DequantizeLinear 1 | 2-3 | 1 | axis=i
DynamicQuantizeLSTM 1 | 12~3,4,5,6,7 | 0-3 | activation_alpha=fs activation_beta=fs activations=ss clip=f
    direction=s hidden_size=i input_forget=i
DynamicQuantizeMatMul 1 | 3-5 | 1
EmbedLayerNormalization 1 | 7-9~1,4 | 1-3 | epsilon=f mask_index_type=i
ExpandDims 1 | 2 | 1
FastGelu 1 | 1-2 | 1
FusedConv 1 | 2-4 | 1 | activation=s activation_params=fs auto_pad=s dilations=is group=i kernel_shape=is
    pads=is strides=is
FusedGemm 1 | 2-3 | 1 | activation=s activation_alpha=f activation_beta=f activation_gamma=f alpha=f beta=f
    transA=i transB=i
FusedMatMul 1 | 2 | 1 | alpha=f transA=i transB=i transBatchA=i transBatchB=i
GatherBlockQuantized 1 | 3-4 | 1 | bits=i block_size=i gather_axis=i quantize_axis=i
GatherND 1 | 2 | 1
Gelu 1 | 1 | 1
GridSample 1 | 2 | 1 | align_corners=i mode=s padding_mode=s
GroupQueryAttention 1 | 7-16~1,2,3,4 | 1-4 | causal=i do_rotary=i k_quant_type=s kv_cache_bit_width=i
    kv_num_heads!=i local_window_size=i num_heads!=i qk_norm_epsilon=f qk_output=i rotary_interleaved=i scale=f
    sliding_window_cache=i smooth_softmax=i softcap=f v_quant_type=s
Inverse 1 | 1 | 1
MatMulBnb4 1 | 3 | 1 | K!=i N!=i block_size!=i quant_type!=i training_mode=i transB=i
MatMulInteger16 1 | 2 | 1
MatMulIntegerToFloat 1 | 4-7 | 1
MatMulNBits 1 | 3-6 | 1 | K!=i N!=i accuracy_level=i bits=i block_size!=i weight_prepacked=i
MultiHeadAttention 1 | 1-10 | 1-4 | mask_filter_value=f num_heads!=i scale=f unidirectional=i
NhwcMaxPool 1 | 1 | 1 | auto_pad=s ceil_mode=i dilations=is kernel_shape!=is pads=is strides=is
Pad 1 | 2-3 | 1 | mode=s
QAttention 1 | 5-9 | 1-2 | do_rotary=i mask_filter_value=f num_heads!=i past_present_share_buffer=i scale=f
    unidirectional=i
QEmbedLayerNormalization 1 | 18~1,4,7,10,15 | 2 | epsilon=f
QGemm 1 | 6-9 | 1 | alpha=f transA=i transB=i
QLinearAdd 1 | 7-8~2,5 | 1
QLinearAveragePool 1 | 4-5~2 | 1 | auto_pad=s ceil_mode=i channels_last=i count_include_pad=i kernel_shape!=is
    pads=is strides=is
QLinearConcat 1 | 3-* | 1 | axis!=i
QLinearConv 1 | 8-9 | 1 | auto_pad=s channels_last=i dilations=is group=i kernel_shape=is pads=is strides=is
QLinearGlobalAveragePool 1 | 5 | 1 | channels_last=i
QLinearLeakyRelu 1 | 4-5~2 | 1 | alpha=f
QLinearMul 1 | 7-8~2,5 | 1
QLinearSigmoid 1 | 4-5~2 | 1
QLinearSoftmax 1 | 5~2 | 1 | axis=i opset!=i
QLinearWhere 1 | 9 | 1
QuantizeLinear 1 | 2-3 | 1 | axis=i
QuickGelu 1 | 1 | 1 | alpha=f
Range 1 | 2-3 | 1
RotaryEmbedding 1 | 4 | 1 | interleaved=i is_packed_batching=i num_heads=i rotary_embedding_dim=i scale=f
SkipLayerNormalization 1 | 3-5 | 1-4 | epsilon=f
SkipSimplifiedLayerNormalization 1 | 3-4 | 1-4 | epsilon=f
TransposeMatMul 1 | 2 | 1 | alpha=f transA=i transB=i
Trilu 1 | 1-2 | 1 | upper=i
Unique 1 | 1 | 3
`;
