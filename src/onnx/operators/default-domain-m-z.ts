/**
 * Signatures of the operators of the default domain, M to Z, opset 1 to 26; the grammar is that of `parseSchemas`.
 * Source: ONNX operator specification, and the schemas that ONNX Runtime 1.30 registers in this domain besides.
 */
export const DEFAULT_DOMAIN_M_TO_Z = `
MatMul 1,9,13 | 2 | 1
MatMulInteger 10 | 2-4 | 1
Max 1 | 1-* | 1 | consumed_inputs=is
Max 6,8,12,13 | 1-* | 1
MaxPool 1 | 1 | 1 | auto_pad=s kernel_shape!=is pads=is strides=is
MaxPool 8 | 1 | 1-2 | auto_pad=s kernel_shape!=is pads=is storage_order=i strides=is
MaxPool 10,11,12,22 | 1 | 1-2 | auto_pad=s ceil_mode=i dilations=is kernel_shape!=is pads=is storage_order=i
    strides=is
MaxRoiPool 1,22 | 2 | 1 | pooled_shape!=is spatial_scale=f
MaxUnpool 9,11,22 | 2-3 | 1 | kernel_shape!=is pads=is strides=is
Mean 1 | 1-* | 1 | consumed_inputs=is
Mean 6,8,13 | 1-* | 1
MeanVarianceNormalization 1 | 1 | 1 | across_channels=i normalize_variance=i
MeanVarianceNormalization 9,13 | 1 | 1 | axes=is
MelWeightMatrix 17 | 5 | 1 | output_datatype=i
Min 1 | 1-* | 1 | consumed_inputs=is
Min 6,8,12,13 | 1-* | 1
Mish 18,22 | 1 | 1
Mod 10,13 | 2 | 1 | fmod=i
Mul 1 | 2 | 1 | axis=i broadcast=i consumed_inputs=is
Mul 6 | 2 | 1 | axis=i broadcast=i
Mul 7,13,14 | 2 | 1
Multinomial 7,22 | 1 | 1 | dtype=i sample_size=i seed=f
Neg 1 | 1 | 1 | consumed_inputs=is
Neg 6,13 | 1 | 1
NegativeLogLikelihoodLoss 12,13,22 | 2-3 | 1 | ignore_index=i reduction=s
NonMaxSuppression 10,11 | 2-5 | 1 | center_point_box=i
NonZero 9,13 | 1 | 1
Not 1 | 1 | 1
OneHot 9,11 | 3 | 1 | axis=i
Optional 15 | 0-1 | 1 | type=type
OptionalGetElement 15,18 | 1 | 1
OptionalHasElement 15 | 1 | 1
OptionalHasElement 18 | 0-1 | 1
Or 1 | 2 | 1 | axis=i broadcast=i
Or 7 | 2 | 1
PRelu 1 | 2 | 1 | consumed_inputs=is
PRelu 6,7,9,16 | 2 | 1
Pad 1 | 1 | 1 | mode=s paddings!=is value=f
Pad 2 | 1 | 1 | mode=s pads!=is value=f
Pad 11,13 | 2-3 | 1 | mode=s
Pad 18,19,21,23,24,25 | 2-4 | 1 | mode=s
ParametricSoftplus 1 | 1 | 1 | alpha=f beta=f
ParametricSoftplus 10 | deprecated
Pow 1 | 2 | 1 | axis=i broadcast=i
Pow 7,12,13,15 | 2 | 1
QLinearConv 10 | 8-9 | 1 | auto_pad=s dilations=is group=i kernel_shape=is pads=is strides=is
QLinearMatMul 10,21 | 8 | 1
QuantizeLinear 10 | 2-3 | 1
QuantizeLinear 13 | 2-3 | 1 | axis=i
QuantizeLinear 19 | 2-3 | 1 | axis=i saturate=i
QuantizeLinear 21 | 2-3 | 1 | axis=i block_size=i output_dtype=i saturate=i
QuantizeLinear 23,24,25 | 2-3 | 1 | axis=i block_size=i output_dtype=i precision=i saturate=i
RMSNormalization 23 | 2 | 1 | axis=i epsilon=f stash_type=i
RNN 1 | 3-6 | 0-2 | activation_alpha=fs activation_beta=fs activations=ss clip=f direction=s hidden_size=i
    output_sequence=i
RNN 7 | 3-6 | 0-2 | activation_alpha=fs activation_beta=fs activations=ss clip=f direction=s hidden_size=i
RNN 14,22 | 3-6 | 0-2 | activation_alpha=fs activation_beta=fs activations=ss clip=f direction=s hidden_size=i
    layout=i
RandomNormal 1,22 | 0 | 1 | dtype=i mean=f scale=f seed=f shape!=is
RandomNormalLike 1,22 | 1 | 1 | dtype=i mean=f scale=f seed=f
RandomUniform 1,22 | 0 | 1 | dtype=i high=f low=f seed=f shape!=is
RandomUniformLike 1,22 | 1 | 1 | dtype=i high=f low=f seed=f
Range 11 | 3 | 1
Reciprocal 1 | 1 | 1 | consumed_inputs=is
Reciprocal 6,13 | 1 | 1
ReduceL1 1,11,13 | 1 | 1 | axes=is keepdims=i
ReduceL1 18 | 1-2 | 1 | keepdims=i noop_with_empty_axes=i
ReduceL2 1,11,13 | 1 | 1 | axes=is keepdims=i
ReduceL2 18 | 1-2 | 1 | keepdims=i noop_with_empty_axes=i
ReduceLogSum 1,11,13 | 1 | 1 | axes=is keepdims=i
ReduceLogSum 18 | 1-2 | 1 | keepdims=i noop_with_empty_axes=i
ReduceLogSumExp 1,11,13 | 1 | 1 | axes=is keepdims=i
ReduceLogSumExp 18 | 1-2 | 1 | keepdims=i noop_with_empty_axes=i
ReduceMax 1,11,12,13 | 1 | 1 | axes=is keepdims=i
ReduceMax 18,20 | 1-2 | 1 | keepdims=i noop_with_empty_axes=i
ReduceMean 1,11,13 | 1 | 1 | axes=is keepdims=i
ReduceMean 18 | 1-2 | 1 | keepdims=i noop_with_empty_axes=i
ReduceMin 1,11,12,13 | 1 | 1 | axes=is keepdims=i
ReduceMin 18,20 | 1-2 | 1 | keepdims=i noop_with_empty_axes=i
ReduceProd 1,11,13 | 1 | 1 | axes=is keepdims=i
ReduceProd 18 | 1-2 | 1 | keepdims=i noop_with_empty_axes=i
ReduceSum 1,11 | 1 | 1 | axes=is keepdims=i
ReduceSum 13 | 1-2 | 1 | keepdims=i noop_with_empty_axes=i
ReduceSumSquare 1,11,13 | 1 | 1 | axes=is keepdims=i
ReduceSumSquare 18 | 1-2 | 1 | keepdims=i noop_with_empty_axes=i
RegexFullMatch 20 | 1 | 1 | pattern=s
Relu 1 | 1 | 1 | consumed_inputs=is
Relu 6,13,14 | 1 | 1
Reshape 1 | 1 | 1 | consumed_inputs=is shape=is
Reshape 5,13 | 2 | 1
Reshape 14,19,21,23,24,25 | 2 | 1 | allowzero=i
Resize 10 | 2 | 1 | mode=s
Resize 11 | 3-4 | 1 | coordinate_transformation_mode=s cubic_coeff_a=f exclude_outside=i extrapolation_value=f
    mode=s nearest_mode=s
Resize 13 | 1-4 | 1 | coordinate_transformation_mode=s cubic_coeff_a=f exclude_outside=i extrapolation_value=f
    mode=s nearest_mode=s
Resize 18,19 | 1-4 | 1 | antialias=i axes=is coordinate_transformation_mode=s cubic_coeff_a=f exclude_outside=i
    extrapolation_value=f keep_aspect_ratio_policy=s mode=s nearest_mode=s
ReverseSequence 10 | 2 | 1 | batch_axis=i time_axis=i
RoiAlign 10 | 3 | 1 | mode=s output_height=i output_width=i sampling_ratio=i spatial_scale=f
RoiAlign 16,22 | 3 | 1 | coordinate_transformation_mode=s mode=s output_height=i output_width=i sampling_ratio=i
    spatial_scale=f
RotaryEmbedding 23 | 3-4 | 1 | interleaved=i num_heads=i rotary_embedding_dim=i
Round 11,22 | 1 | 1
STFT 17 | 2-4 | 1 | onesided=i
Scale 1 | 1 | 1 | scale=f
Scale 10 | deprecated
ScaledTanh 1 | 1 | 1 | alpha=f beta=f
ScaledTanh 10 | deprecated
Scan 8 | 2-*~0 | 1-* | body!=g directions=is num_scan_inputs!=i
Scan 9,11,16,19,21,23,24,25 | 1-* | 1-* | body!=g num_scan_inputs!=i scan_input_axes=is scan_input_directions=is
    scan_output_axes=is scan_output_directions=is
Scatter 9 | 3 | 1 | axis=i
Scatter 11 | deprecated
ScatterElements 11,13 | 3 | 1 | axis=i
ScatterElements 16,18 | 3 | 1 | axis=i reduction=s
ScatterND 11,13 | 3 | 1
ScatterND 16,18 | 3 | 1 | reduction=s
Selu 1 | 1 | 1 | alpha=f consumed_inputs=is gamma=f
Selu 6,22 | 1 | 1 | alpha=f gamma=f
SequenceAt 11 | 2 | 1
SequenceConstruct 11 | 1-* | 1
SequenceEmpty 11 | 0 | 1 | dtype=i
SequenceErase 11 | 1-2 | 1
SequenceInsert 11 | 2-3 | 1
SequenceLength 11 | 1 | 1
SequenceMap 17 | 1-* | 1-* | body!=g
Shape 1,13 | 1 | 1
Shape 15,19,21,23,24,25 | 1 | 1 | end=i start=i
Shrink 9 | 1 | 1 | bias=f lambd=f
Sigmoid 1 | 1 | 1 | consumed_inputs=is
Sigmoid 6,13 | 1 | 1
Sign 9,13 | 1 | 1
SimplifiedLayerNormalization 1 | 2 | 1-2 | axis=i epsilon=f stash_type=i
Sin 7,22 | 1 | 1
Sinh 9,22 | 1 | 1
Size 1,13,19,21,23,24,25 | 1 | 1
Slice 1 | 1 | 1 | axes=is ends!=is starts!=is
Slice 10,11,13 | 3-5 | 1
Softmax 1,11,13 | 1 | 1 | axis=i
SoftmaxCrossEntropyLoss 12,13 | 2-3 | 1-2 | ignore_index=i reduction=s
Softplus 1,22 | 1 | 1
Softsign 1,22 | 1 | 1
SpaceToDepth 1,13 | 1 | 1 | blocksize!=i
Split 1 | 1-2 | 1-* | axis=i split=is
Split 2,11 | 1 | 1-* | axis=i split=is
Split 13 | 1-2 | 1-* | axis=i
Split 18 | 1-2 | 1-* | axis=i num_outputs=i
SplitToSequence 11,24 | 1-2 | 1 | axis=i keepdims=i
Sqrt 1 | 1 | 1 | consumed_inputs=is
Sqrt 6,13 | 1 | 1
Squeeze 1,11 | 1 | 1 | axes=is
Squeeze 13,21,23,24,25 | 1-2 | 1
StringConcat 20 | 2 | 1
StringNormalizer 10 | 1 | 1 | case_change_action=s is_case_sensitive=i locale=s stopwords=ss
StringSplit 20 | 1 | 2 | delimiter=s maxsplit=i
Sub 1 | 2 | 1 | axis=i broadcast=i consumed_inputs=is
Sub 6 | 2 | 1 | axis=i broadcast=i
Sub 7,13,14 | 2 | 1
Sum 1 | 1-* | 1 | consumed_inputs=is
Sum 6,8,13 | 1-* | 1
Swish 24 | 1 | 1 | alpha=f
Tan 7,22 | 1 | 1
Tanh 1 | 1 | 1 | consumed_inputs=is
Tanh 6,13 | 1 | 1
TensorScatter 24 | 2-3 | 1 | axis=i mode=s
TfIdfVectorizer 9 | 1 | 1 | max_gram_length!=i max_skip_count!=i min_gram_length!=i mode!=s ngram_counts!=is
    ngram_indexes!=is pool_int64s=is pool_strings=ss weights=fs
ThresholdedRelu 1,10,22 | 1 | 1 | alpha=f
Tile 1 | 3 | 1
Tile 6,13 | 2 | 1
TopK 1 | 1 | 2 | axis=i k!=i
TopK 10 | 2 | 2 | axis=i
TopK 11,24 | 2 | 2 | axis=i largest=i sorted=i
Transpose 1,13,21,23,24,25 | 1 | 1 | perm=is
Trilu 14 | 1-2 | 1 | upper=i
Unique 11 | 1 | 1-4 | axis=i sorted=i
Unsqueeze 1,11 | 1 | 1 | axes!=is
Unsqueeze 13,21,23,24,25 | 2 | 1
Upsample 1 | 1 | 1 | height_scale!=f mode=s width_scale!=f
Upsample 7 | 1 | 1 | mode=s scales!=fs
Upsample 9 | 2 | 1 | mode=s
Upsample 10 | deprecated
Where 9,16 | 3 | 1
Xor 1 | 2 | 1 | axis=i broadcast=i
Xor 7 | 2 | 1
`;
