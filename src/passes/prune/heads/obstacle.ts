/** Why the units of one place cannot be taken out. Caught where places are collected; becomes the reason in the report. */
export class Obstacle extends Error {
  override readonly name = 'Obstacle';
}
