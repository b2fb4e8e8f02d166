import type { ArchitectureRequest } from '../../src/zoo/build-architecture.ts';

export interface TrainedNetwork {
  readonly name: string;
  readonly request: ArchitectureRequest;
  readonly batchSize: number;
  readonly size: number;
  readonly classes: number;
}

/** What steps are timed on; `pytorch_steps.py` builds the same networks under the same names. */
export const NETWORKS: readonly TrainedNetwork[] = [
  cifar('resnet20', { architecture: 'resnet', depth: 20, shortcut: 'pad' }),
  cifar('resnet56', { architecture: 'resnet', depth: 56, shortcut: 'pad' }),
  imagenet('resnet18', { architecture: 'resnet', depth: 18 }),
  imagenet('mobilenetv2', { architecture: 'mobilenet-v2' }),
];

function cifar(name: string, request: ArchitectureRequest): TrainedNetwork {
  return { name, request: { ...request, classes: 10, inputSize: 32 }, batchSize: 128, size: 32, classes: 10 };
}

function imagenet(name: string, request: ArchitectureRequest): TrainedNetwork {
  return { name, request: { ...request, classes: 1000, inputSize: 224 }, batchSize: 16, size: 224, classes: 1000 };
}
