/** A little-endian float32 .npy file of zeros, NPY format version 1.0. */
export function npy(shape: readonly number[], value = 0): Buffer {
  const dict = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(', ')}${shape.length === 1 ? ',' : ''}), }`;
  const header = dict.padEnd(64 * Math.ceil((dict.length + 11) / 64) - 11, ' ') + '\n';
  const prefix = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, header.length & 255, header.length >> 8]);
  const count = shape.reduce((product, size) => product * size, 1);
  return Buffer.concat([prefix, Buffer.from(header), Buffer.from(new Float32Array(count).fill(value).buffer)]);
}
