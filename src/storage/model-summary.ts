import { macsOf } from '../onnx/cost/macs.ts';
import type { Model } from '../onnx/model.ts';
import { summarizeModel, type SummaryValue } from '../onnx/print/summarize-model.ts';
import type { ModelSummaryField, ModelValue } from '../schemas/model.ts';

/** What /v1/models says of a model. Weights are not read. */
export function summarize(model: Model): ModelSummaryField {
  const { opset, inputs, outputs, ...facts } = summarizeModel(model);
  const macs = macsOf(model);
  return {
    irVersion: facts.irVersion,
    opset: opset[''] ?? 0,
    opsets: Object.fromEntries(
      Object.entries(opset).map(([domain, version]) => [domain === '' ? 'ai.onnx' : domain, version]),
    ),
    producer: facts.producer,
    inputs: inputs.map(valueField),
    outputs: outputs.map(valueField),
    operators: { ...facts.operators },
    parameters: facts.parameters,
    macs: macs.unknown.length > 0 ? null : macs.total,
  };
}

function valueField({ name, type, shape }: SummaryValue): ModelValue {
  return { name, type: type ?? 'unknown', shape: shape === null ? null : [...shape] };
}
