import type { Architecture } from './architecture.ts';
import { addernet } from './families/addernet.ts';
import { densenet } from './families/densenet.ts';
import { mlp } from './families/mlp.ts';
import { mobileNetV1 } from './families/mobilenet-v1.ts';
import { mobileNetV2 } from './families/mobilenet-v2.ts';
import { mobileNetV3 } from './families/mobilenet-v3.ts';
import { resnet } from './families/resnet.ts';
import { shuffleNetV1 } from './families/shufflenet-v1.ts';
import { shuffleNetV2 } from './families/shufflenet-v2.ts';
import { squeezenet } from './families/squeezenet.ts';
import { staged } from './families/staged.ts';
import { vgg } from './families/vgg.ts';
import { vit } from './families/vit.ts';
import { wideResnet } from './families/wide-resnet.ts';

/** Every architecture there is, in the order /v1/architectures lists them. */
export const ARCHITECTURES: readonly Architecture[] = [
  resnet,
  wideResnet,
  densenet,
  squeezenet,
  mobileNetV1,
  mobileNetV2,
  mobileNetV3,
  shuffleNetV1,
  shuffleNetV2,
  addernet,
  vgg,
  mlp,
  vit,
  staged,
];
