import { toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import {
  DeviceConfigurationProtoSchema,
  ModelProtoSchema,
  NodeDeviceConfigurationProtoSchema,
  NodeProtoSchema,
  type DeviceConfigurationProto,
  type NodeDeviceConfigurationProto,
} from 'onnx-buf';
import type { UnknownField } from '../unknown-fields.ts';

/** Multi-device settings (IR 11) mean nothing to us: they travel as unknown fields do. */
export function keepConfigurations(configurations: readonly DeviceConfigurationProto[]): UnknownField[] {
  const { number } = ModelProtoSchema.field.configuration;
  return configurations.map((item) => asUnknown(number, toBinary(DeviceConfigurationProtoSchema, item)));
}

export function keepNodeConfigurations(configurations: readonly NodeDeviceConfigurationProto[]): UnknownField[] {
  const { number } = NodeProtoSchema.field.deviceConfigurations;
  return configurations.map((item) => asUnknown(number, toBinary(NodeDeviceConfigurationProtoSchema, item)));
}

function asUnknown(no: number, bytes: Uint8Array): UnknownField {
  return { no, wireType: WireType.LengthDelimited, data: new BinaryWriter().bytes(bytes).finish() };
}
