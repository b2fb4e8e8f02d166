import type { Architecture } from './architecture.ts';
import { mobileNetV2 } from './families/mobilenet-v2.ts';
import { resnet } from './families/resnet.ts';

/** Every architecture there is, in the order /v1/architectures lists them. */
export const ARCHITECTURES: readonly Architecture[] = [resnet, mobileNetV2];
