import type { Adapter } from './adapter.ts';
import {
  batchNormalization9,
  clip11,
  dropout10,
  dropout12,
  experimental10,
  meanVarianceNormalization9,
  pad11,
  resize11,
  scan9,
  scatter11,
  slice10,
  topK10,
  upsample10,
  upsample9,
} from './adapters-9-to-12.ts';
import {
  axesToInput,
  batchNormalization14,
  dft20,
  gridSample20,
  groupNormalization21,
  resize13,
  roiAlign16,
  softmax13,
  split13,
  split18,
} from './adapters-13-to-21.ts';

/**
 * By opset, what has to happen to a node of the opset before it. Every change of an operator from opset 8 to 26 was read
 * in the ONNX change log; one that is not listed here only widened types, added an attribute or input whose default is
 * the old behaviour, or allowed negative axes.
 * @see https://github.com/onnx/onnx/blob/main/docs/Changelog.md
 */
export const ADAPTERS: Readonly<Record<number, Readonly<Record<string, Adapter>>>> = {
  9: {
    BatchNormalization: batchNormalization9,
    MeanVarianceNormalization: meanVarianceNormalization9,
    Scan: scan9,
    Upsample: upsample9,
  },
  10: {
    Dropout: dropout10,
    Slice: slice10,
    TopK: topK10,
    Upsample: upsample10,
    ATen: experimental10,
    Affine: experimental10,
    ConstantFill: experimental10,
    Crop: experimental10,
    DynamicSlice: experimental10,
    GRUUnit: experimental10,
    GivenTensorFill: experimental10,
    ImageScaler: experimental10,
    ParametricSoftplus: experimental10,
    Scale: experimental10,
    ScaledTanh: experimental10,
  },
  11: { Clip: clip11, Pad: pad11, Resize: resize11, Scatter: scatter11 },
  12: { Dropout: dropout12 },
  13: {
    Hardmax: softmax13,
    LogSoftmax: softmax13,
    ReduceSum: axesToInput,
    Resize: resize13,
    Softmax: softmax13,
    Split: split13,
    Squeeze: axesToInput,
    Unsqueeze: axesToInput,
  },
  14: { BatchNormalization: batchNormalization14 },
  16: { RoiAlign: roiAlign16 },
  18: {
    ReduceL1: axesToInput,
    ReduceL2: axesToInput,
    ReduceLogSum: axesToInput,
    ReduceLogSumExp: axesToInput,
    ReduceMax: axesToInput,
    ReduceMean: axesToInput,
    ReduceMin: axesToInput,
    ReduceProd: axesToInput,
    ReduceSumSquare: axesToInput,
    Split: split18,
  },
  20: { DFT: dft20, GridSample: gridSample20 },
  21: { GroupNormalization: groupNormalization21 },
  24: { Attention: () => ({ refused: 'Attention changed at opset 24 and there is no exact rewrite' }) },
};

/** Up to here the change log was read. ONNX Runtime 1.30 knows opset 26. */
export const HIGHEST_OPSET = 26;
/** Below 7, operators broadcast by attributes. */
export const LOWEST_OPSET = 7;
