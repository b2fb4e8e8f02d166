import { createHash } from 'node:crypto';
import { DATA_TYPES } from '../data-type.ts';
import type { Tensor } from '../tensor.ts';
import { float32Text, float64Text, quoteBytes, quoteString } from './text.ts';

/** `float[64,3,3,3]`; a scalar is `float`. */
export function tensorTypeText(tensor: Pick<Tensor, 'dataType' | 'dims'>): string {
  return tensor.dims.length === 0 ? tensor.dataType : `${tensor.dataType}[${tensor.dims.join(',')}]`;
}

/**
 * The data of a tensor: `{1, 2, 3}` up to `inlineElements`, else `{...1728 elements, sha256 0123456789ab}` (the first 12 digits over
 * the little-endian bytes), so that a changed weight shows. External data is named, not read.
 */
export function tensorDataText(tensor: Tensor, inlineElements: number): string {
  if (tensor.storage.kind === 'external') {
    const { file, offset, byteLength } = tensor.storage;
    return `["location": ${quoteString(file.location)}, "offset": "${offset}", "length": "${byteLength}"]`;
  }
  if (tensor.elementCount > inlineElements) {
    return `{...${tensor.elementCount} elements, sha256 ${digestOf(tensor)}}`;
  }
  return `{${elementTexts(tensor).join(', ')}}`;
}

export function digestOf(tensor: Tensor): string {
  const hash = createHash('sha256');
  if (tensor.storage.kind === 'strings') {
    // With the length before each, so that ["ab"] and ["a", "b"] differ.
    for (const value of tensor.storage.values) hash.update(`${value.byteLength}:`).update(value);
  } else hash.update(tensor.bytes());
  return hash.digest('hex').slice(0, 12);
}

function elementTexts(tensor: Tensor): string[] {
  if (tensor.storage.kind === 'strings') return tensor.storage.values.map(quoteBytes);
  const { bits } = DATA_TYPES[tensor.dataType];
  if (bits < 8) return subByteTexts(tensor, bits);
  const { data, type } = tensor.toArray();
  if (type === 'string') return [...data];
  if (data instanceof Float32Array) return Array.from(data, float32Text);
  if (data instanceof Float64Array) return Array.from(data, float64Text);
  // Integers; float16, bfloat16 and 8-bit floats as their bits, as the ONNX parser reads them.
  return Array.from(data as ArrayLike<number | bigint>, String);
}

/** 4- and 2-bit integers one by one; float4 as its bits. */
function subByteTexts(tensor: Tensor, bits: number): string[] {
  const bytes = tensor.bytes();
  const perByte = 8 / bits;
  const signed = tensor.dataType === 'int4' || tensor.dataType === 'int2';
  return Array.from({ length: tensor.elementCount }, (_, index) => {
    const byte = bytes[Math.floor(index / perByte)] ?? 0;
    const value = (byte >> ((index % perByte) * bits)) & (2 ** bits - 1);
    return String(signed && value >= 2 ** (bits - 1) ? value - 2 ** bits : value);
  });
}
