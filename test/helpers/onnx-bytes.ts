/** A protobuf field: varint for numbers, length-delimited for bytes and text. Values below 2^31. */
export function field(number: number, value: number | string | Uint8Array): Buffer {
  if (typeof value === 'number') return Buffer.concat([varint(number << 3), varint(value)]);
  const bytes = Buffer.from(value);
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  return Buffer.from([...bytes, value]);
}

const tensorType = (elementType: number, dims: readonly number[]): Buffer =>
  field(
    1,
    Buffer.concat([field(1, elementType), field(2, Buffer.concat(dims.map((size) => field(1, field(1, size)))))]),
  );
const valueInfo = (name: string, dims: readonly number[]): Buffer =>
  Buffer.concat([field(1, name), field(2, tensorType(1, dims))]);

/**
 * `y = x + w` over 4 floats, written by hand from onnx.proto, so that the tests of the HTTP side rest on no encoder of
 * ours. With a location, w lies in that external file.
 */
export function addModel(options: { readonly location?: string; readonly producer?: string } = {}): Buffer {
  const data =
    options.location === undefined
      ? field(9, Buffer.alloc(16))
      : Buffer.concat([field(13, Buffer.concat([field(1, 'location'), field(2, options.location)])), field(14, 1)]);
  const weight = Buffer.concat([field(1, 4), field(2, 1), field(8, 'w'), data]);
  const node = Buffer.concat([field(1, 'x'), field(1, 'w'), field(2, 'y'), field(3, 'add'), field(4, 'Add')]);
  const graph = Buffer.concat([
    field(1, node),
    field(2, 'g'),
    field(5, weight),
    field(11, valueInfo('x', [4])),
    field(12, valueInfo('y', [4])),
  ]);
  return Buffer.concat([
    field(1, 8),
    field(2, options.producer ?? 'test'),
    field(7, graph),
    field(8, Buffer.concat([field(1, ''), field(2, 17)])),
  ]);
}
