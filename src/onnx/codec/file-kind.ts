/** Signatures of files that get uploaded in place of an ONNX model. */
const SIGNATURES: readonly { readonly offset: number; readonly bytes: readonly number[]; readonly kind: string }[] = [
  {
    offset: 0,
    bytes: ascii('version https://git-lfs'),
    kind: 'a Git LFS pointer (run "git lfs pull" to get the model)',
  },
  { offset: 0, bytes: [0x50, 0x4b, 3, 4], kind: 'a ZIP archive (a PyTorch checkpoint or a Keras file is one too)' },
  { offset: 0, bytes: [0x50, 0x4b, 5, 6], kind: 'an empty ZIP archive' },
  { offset: 0, bytes: [0x1f, 0x8b], kind: 'a gzip file' },
  { offset: 0, bytes: [0x28, 0xb5, 0x2f, 0xfd], kind: 'a zstd file' },
  { offset: 0, bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a], kind: 'an xz file' },
  { offset: 0, bytes: [0x37, 0x7a, 0xbc, 0xaf], kind: 'a 7z archive' },
  { offset: 257, bytes: ascii('ustar'), kind: 'a tar archive' },
  { offset: 0, bytes: [0x89, 0x48, 0x44, 0x46], kind: 'an HDF5 file (Keras weights)' },
  { offset: 0, bytes: ascii('GGUF'), kind: 'a GGUF file' },
  { offset: 4, bytes: ascii('TFL3'), kind: 'a TensorFlow Lite model' },
  { offset: 4, bytes: ascii('ORTM'), kind: 'a model in ORT format (convert it back, or upload the .onnx file)' },
  { offset: 0, bytes: [0x93, ...ascii('NUMPY')], kind: 'a NumPy array' },
  { offset: 0, bytes: [0x80, 2], kind: 'a Python pickle' },
  { offset: 0, bytes: [0x7f, ...ascii('ELF')], kind: 'an executable' },
  { offset: 0, bytes: ascii('%PDF'), kind: 'a PDF document' },
  { offset: 0, bytes: [0x89, ...ascii('PNG')], kind: 'a PNG image' },
  { offset: 0, bytes: [0xff, 0xd8, 0xff], kind: 'a JPEG image' },
  { offset: 8, bytes: ascii('{"'), kind: 'a safetensors file (weights without a graph)' },
];

/** What the bytes look like, for the message of a parse error; undefined when nothing is recognised. */
export function fileKind(bytes: Uint8Array): string | undefined {
  for (const { offset, bytes: signature, kind } of SIGNATURES) {
    if (signature.every((byte, index) => bytes[offset + index] === byte)) return kind;
  }
  const start = new TextDecoder().decode(bytes.subarray(0, 256)).trimStart().toLowerCase();
  if (start.startsWith('<!doctype html') || start.startsWith('<html')) {
    return 'an HTML page (often a login or error page in place of a download)';
  }
  if (start.startsWith('<?xml') || start.startsWith('<net')) return 'an XML file';
  if (start.startsWith('{') || start.startsWith('[')) return 'a JSON text';
  return undefined;
}

function ascii(text: string): number[] {
  return Array.from(text, (char) => char.charCodeAt(0));
}
