/** Rounds as QuantizeLinear and Round do (ONNX specification): half to even. Math.round rounds half up. Exact for |x| < 2^51. */
export function roundHalfEven(x: number): number {
  // Adding 1.5 * 2^52 leaves no bits for the fraction, so the addition itself rounds, half to even.
  return x + 6755399441055744 - 6755399441055744;
}
