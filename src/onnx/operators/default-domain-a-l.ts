/**
 * Signatures of the operators of the default domain, A to L, opset 1 to 26; the grammar is that of `parseSchemas`.
 * Source: ONNX operator specification, and the schemas that ONNX Runtime 1.30 registers in this domain besides.
 */
export const DEFAULT_DOMAIN_A_TO_L = `
Abs 1 | 1 | 1 | consumed_inputs=is
Abs 6,13 | 1 | 1
Acos 7,22 | 1 | 1
Acosh 9,22 | 1 | 1
Add 1 | 2 | 1 | axis=i broadcast=i consumed_inputs=is
Add 6 | 2 | 1 | axis=i broadcast=i
Add 7,13,14 | 2 | 1
Affine 1 | 1 | 1 | alpha=f beta=f
Affine 10 | deprecated
AffineGrid 20 | 2 | 1 | align_corners=i
And 1 | 2 | 1 | axis=i broadcast=i
And 7 | 2 | 1
ArgMax 1,11 | 1 | 1 | axis=i keepdims=i
ArgMax 12,13 | 1 | 1 | axis=i keepdims=i select_last_index=i
ArgMin 1,11 | 1 | 1 | axis=i keepdims=i
ArgMin 12,13 | 1 | 1 | axis=i keepdims=i select_last_index=i
Asin 7,22 | 1 | 1
Asinh 9,22 | 1 | 1
Atan 7,22 | 1 | 1
Atanh 9,22 | 1 | 1
Attention 23 | 3-6 | 1-4 | is_causal=i kv_num_heads=i q_num_heads=i qk_matmul_output_mode=i scale=f softcap=f
    softmax_precision=i
Attention 24 | 3-7 | 1-4 | is_causal=i kv_num_heads=i q_num_heads=i qk_matmul_output_mode=i scale=f softcap=f
    softmax_precision=i
AveragePool 1 | 1 | 1 | auto_pad=s kernel_shape!=is pads=is strides=is
AveragePool 7 | 1 | 1 | auto_pad=s count_include_pad=i kernel_shape!=is pads=is strides=is
AveragePool 10,11 | 1 | 1 | auto_pad=s ceil_mode=i count_include_pad=i kernel_shape!=is pads=is strides=is
AveragePool 19,22 | 1 | 1 | auto_pad=s ceil_mode=i count_include_pad=i dilations=is kernel_shape!=is pads=is
    strides=is
BatchNormalization 1 | 5 | 1-5 | consumed_inputs!=is epsilon=f is_test=i momentum=f spatial=i
BatchNormalization 6 | 5 | 1-5 | epsilon=f is_test=i momentum=f spatial=i
BatchNormalization 7 | 5 | 1-5 | epsilon=f momentum=f spatial=i
BatchNormalization 9 | 5 | 1-5 | epsilon=f momentum=f
BatchNormalization 14,15 | 5 | 1-3 | epsilon=f momentum=f training_mode=i
Bernoulli 15,22 | 1 | 1 | dtype=i seed=f
BitCast 26 | 1 | 1 | to!=i
BitShift 11 | 2 | 1 | direction!=s
BitwiseAnd 18 | 2 | 1
BitwiseNot 18 | 1 | 1
BitwiseOr 18 | 2 | 1
BitwiseXor 18 | 2 | 1
BlackmanWindow 17 | 1 | 1 | output_datatype=i periodic=i
Cast 1 | 1 | 1 | to!=s
Cast 6,9,13 | 1 | 1 | to!=i
Cast 19,21,23 | 1 | 1 | saturate=i to!=i
Cast 24,25 | 1 | 1 | round_mode=s saturate=i to!=i
CastLike 15 | 2 | 1
CastLike 19,21,23 | 2 | 1 | saturate=i
CastLike 24,25 | 2 | 1 | round_mode=s saturate=i
Ceil 1 | 1 | 1 | consumed_inputs=is
Ceil 6,13 | 1 | 1
Celu 12 | 1 | 1 | alpha=f
CenterCropPad 18 | 2 | 1 | axes=is
Clip 1 | 1 | 1 | consumed_inputs=is max=f min=f
Clip 6 | 1 | 1 | max=f min=f
Clip 11,12,13 | 1-3 | 1
Col2Im 18 | 3 | 1 | dilations=is pads=is strides=is
Compress 9,11 | 2 | 1 | axis=i
Concat 1 | 1-* | 1 | axis=i
Concat 4,11,13 | 1-* | 1 | axis!=i
ConcatFromSequence 11 | 1 | 1 | axis!=i new_axis=i
Constant 1,9 | 0 | 1 | value!=t
Constant 11 | 0 | 1 | sparse_value=sp value=t
Constant 12,13,19,21,23,24,25 | 0 | 1 | sparse_value=sp value=t value_float=f value_floats=fs value_int=i
    value_ints=is value_string=s value_strings=ss
ConstantOfShape 9,20,21,23,24,25 | 1 | 1 | value=t
Conv 1,11,22 | 2-3 | 1 | auto_pad=s dilations=is group=i kernel_shape=is pads=is strides=is
ConvInteger 10 | 2-4 | 1 | auto_pad=s dilations=is group=i kernel_shape=is pads=is strides=is
ConvTranspose 1,11,22 | 2-3 | 1 | auto_pad=s dilations=is group=i kernel_shape=is output_padding=is
    output_shape=is pads=is strides=is
Cos 7,22 | 1 | 1
Cosh 9,22 | 1 | 1
Crop 1 | 1 | 1 | border=is scale=is
Crop 10 | deprecated
CumProd 26 | 2 | 1 | exclusive=i reverse=i
CumSum 11,14 | 2 | 1 | exclusive=i reverse=i
DFT 17 | 1-2 | 1 | axis=i inverse=i onesided=i
DFT 20 | 1-3 | 1 | inverse=i onesided=i
DeformConv 19,22 | 3-5 | 1 | dilations=is group=i kernel_shape=is offset_group=i pads=is strides=is
DepthToSpace 1 | 1 | 1 | blocksize!=i
DepthToSpace 11,13 | 1 | 1 | blocksize!=i mode=s
DequantizeLinear 10 | 2-3 | 1
DequantizeLinear 13,19 | 2-3 | 1 | axis=i
DequantizeLinear 21 | 2-3 | 1 | axis=i block_size=i
DequantizeLinear 23,24,25 | 2-3 | 1 | axis=i block_size=i output_dtype=i
Det 11,22 | 1 | 1
Div 1 | 2 | 1 | axis=i broadcast=i consumed_inputs=is
Div 6 | 2 | 1 | axis=i broadcast=i
Div 7,13,14 | 2 | 1
Dropout 1 | 1 | 1-2 | consumed_inputs=is is_test=i ratio=f
Dropout 6 | 1 | 1-2 | is_test=i ratio=f
Dropout 7,10 | 1 | 1-2 | ratio=f
Dropout 12,13,22 | 1-3 | 1-2 | seed=i
DynamicQuantizeLinear 11 | 1 | 3
DynamicSlice 1 | 3-4 | 1
DynamicSlice 10 | deprecated
Einsum 12 | 1-* | 1 | equation!=s
Elu 1 | 1 | 1 | alpha=f consumed_inputs=is
Elu 6,22 | 1 | 1 | alpha=f
Equal 1 | 2 | 1 | axis=i broadcast=i
Equal 7,11,13,19 | 2 | 1
Erf 9,13 | 1 | 1
Exp 1 | 1 | 1 | consumed_inputs=is
Exp 6,13 | 1 | 1
Expand 8,13 | 2 | 1
EyeLike 9,22 | 1 | 1 | dtype=i k=i
Flatten 1,9,11,13,21,23,24,25 | 1 | 1 | axis=i
Floor 1 | 1 | 1 | consumed_inputs=is
Floor 6,13 | 1 | 1
GRU 1 | 3-6 | 2~0 | activation_alpha=fs activation_beta=fs activations=ss clip=f direction=s hidden_size=i
    output_sequence=i
GRU 3 | 3-6 | 0-2 | activation_alpha=fs activation_beta=fs activations=ss clip=f direction=s hidden_size=i
    linear_before_reset=i output_sequence=i
GRU 7 | 3-6 | 0-2 | activation_alpha=fs activation_beta=fs activations=ss clip=f direction=s hidden_size=i
    linear_before_reset=i
GRU 14,22 | 3-6 | 0-2 | activation_alpha=fs activation_beta=fs activations=ss clip=f direction=s hidden_size=i
    layout=i linear_before_reset=i
Gather 1,11,13 | 2 | 1 | axis=i
GatherElements 11,13 | 2 | 1 | axis=i
GatherND 11 | 2 | 1
GatherND 12,13 | 2 | 1 | batch_dims=i
Gelu 20 | 1 | 1 | approximate=s
Gemm 1,6 | 3 | 1 | alpha=f beta=f broadcast=i transA=i transB=i
Gemm 7,9 | 3 | 1 | alpha=f beta=f transA=i transB=i
Gemm 11,13 | 2-3 | 1 | alpha=f beta=f transA=i transB=i
GlobalAveragePool 1,22 | 1 | 1
GlobalLpPool 1 | 1 | 1 | p=f
GlobalLpPool 2,22 | 1 | 1 | p=i
GlobalMaxPool 1,22 | 1 | 1
Greater 1 | 2 | 1 | axis=i broadcast=i
Greater 7,9,13 | 2 | 1
GreaterOrEqual 12,16 | 2 | 1
GridSample 16,20,22 | 2 | 1 | align_corners=i mode=s padding_mode=s
GroupNormalization 18 | 3 | 1 | epsilon=f num_groups!=i
GroupNormalization 21 | 3 | 1 | epsilon=f num_groups!=i stash_type=i
HammingWindow 17 | 1 | 1 | output_datatype=i periodic=i
HannWindow 17 | 1 | 1 | output_datatype=i periodic=i
HardSigmoid 1 | 1 | 1 | alpha=f beta=f consumed_inputs=is
HardSigmoid 6,22 | 1 | 1 | alpha=f beta=f
HardSwish 14,22 | 1 | 1
Hardmax 1,11,13 | 1 | 1 | axis=i
Identity 1,13,14,16,19,21,23,24,25 | 1 | 1
If 1,11,13,16,19,21,23,24,25 | 1 | 1-* | else_branch!=g then_branch!=g
ImageScaler 1 | 1 | 1 | bias=fs scale=f
ImageScaler 10 | deprecated
InstanceNormalization 1 | 3 | 1 | consumed_inputs=is epsilon=f
InstanceNormalization 6,22 | 3 | 1 | epsilon=f
IsInf 10,20 | 1 | 1 | detect_negative=i detect_positive=i
IsNaN 9,13,20 | 1 | 1
LRN 1,13 | 1 | 1 | alpha=f beta=f bias=f size!=i
LSTM 1 | 3-8 | 0-3 | activation_alpha=fs activation_beta=fs activations=ss clip=f direction=s hidden_size=i
    input_forget=i output_sequence=i
LSTM 7 | 3-8 | 0-3 | activation_alpha=fs activation_beta=fs activations=ss clip=f direction=s hidden_size=i
    input_forget=i
LSTM 14,22 | 3-8 | 0-3 | activation_alpha=fs activation_beta=fs activations=ss clip=f direction=s hidden_size=i
    input_forget=i layout=i
LayerNormalization 1,17 | 2-3 | 1-3 | axis=i epsilon=f stash_type=i
LeakyRelu 1 | 1 | 1 | alpha=f consumed_inputs=is
LeakyRelu 6,16 | 1 | 1 | alpha=f
Less 1 | 2 | 1 | axis=i broadcast=i
Less 7,9,13 | 2 | 1
LessOrEqual 12,16 | 2 | 1
Log 1 | 1 | 1 | consumed_inputs=is
Log 6,13 | 1 | 1
LogSoftmax 1,11,13 | 1 | 1 | axis=i
Loop 1 | 3-*~0,1 | 1-* | body!=g
Loop 11,13,16,19,21,23,24,25 | 2-*~0,1 | 1-* | body!=g
LpNormalization 1,22 | 1 | 1 | axis=i p=i
LpPool 1 | 1 | 1 | auto_pad=s kernel_shape=is p=f pads=is strides=is
LpPool 2,11 | 1 | 1 | auto_pad=s kernel_shape!=is p=i pads=is strides=is
LpPool 18,22 | 1 | 1 | auto_pad=s ceil_mode=i dilations=is kernel_shape!=is p=i pads=is strides=is
`;
