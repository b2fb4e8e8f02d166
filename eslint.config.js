import js from '@eslint/js';
import tseslint from 'typescript-eslint';

/** A lint rule holds the direction of imports between folders (docs/adr/0001-structure.md). */
const layer = (files, forbidden, message) => ({
  files,
  rules: {
    '@typescript-eslint/no-restricted-imports': [
      'error',
      { patterns: [{ group: forbidden, message, allowTypeImports: true }, ...onlyRuntime] },
    ],
  },
});
const onlyRuntime = [
  {
    group: ['onnxruntime-node'],
    message: 'Only src/runtime imports onnxruntime-node; take a Runtime from the context.',
  },
];
const deterministic = [
  { object: 'Math', property: 'random', message: 'Use context.rng: same seed, same bytes.' },
  { object: 'Date', property: 'now', message: 'Use context.clock: same input, same bytes.' },
];
const environment = {
  object: 'process',
  property: 'env',
  message: 'Only src/config.ts reads the environment; take a Config.',
};

export default tseslint.config(
  { ignores: ['dist/**', 'coverage/**', 'node_modules/**', '*.config.js', '**/*.mjs'] },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrors: 'all', ignoreRestSiblings: true },
      ],
      'max-lines': ['error', 400],
      'max-params': ['error', 4],
      'no-console': 'error',
      'no-restricted-properties': ['error', environment],
    },
  },
  {
    files: ['src/**/*.ts', 'workers/**/*.ts'],
    rules: { '@typescript-eslint/no-restricted-imports': ['error', { patterns: onlyRuntime }] },
  },
  layer(
    ['src/onnx/**/*.ts'],
    [
      '**/runtime/**',
      '**/data/**',
      '**/passes/**',
      '**/training/**',
      '**/evaluation/**',
      '**/jobs/**',
      '**/storage/**',
      '**/routes/**',
      '**/schemas/**',
      '**/workers/**',
    ],
    'src/onnx is pure: it knows nobody but errors.ts.',
  ),
  layer(
    ['src/data/**/*.ts'],
    [
      '**/passes/**',
      '**/training/**',
      '**/evaluation/**',
      '**/runtime/**',
      '**/jobs/**',
      '**/storage/**',
      '**/routes/**',
    ],
    'src/data builds on src/onnx only.',
  ),
  layer(
    ['src/passes/**/*.ts'],
    ['**/runtime/**', '**/jobs/**', '**/storage/**', '**/routes/**', '**/webhooks/**', '**/workers/**'],
    'A pass gets sessions from its context (type imports are fine).',
  ),
  layer(
    ['src/search/**/*.ts'],
    [
      '**/onnx/**',
      '**/data/**',
      '!**/data/seeded-random.ts',
      '**/passes/**',
      '**/training/**',
      '**/evaluation/**',
      '**/zoo/**',
      '**/runtime/**',
      '**/jobs/**',
      '**/storage/**',
      '**/routes/**',
      '**/schemas/**',
      '**/workers/**',
      'node:*',
    ],
    'src/search is pure arithmetic: it knows numerics and the seeded generator, no models, no files.',
  ),
  layer(
    [
      'src/routes/**/*.ts',
      'src/plugins/**/*.ts',
      'src/schemas/**/*.ts',
      'src/jobs/**/*.ts',
      'src/storage/**/*.ts',
      'src/webhooks/**/*.ts',
      'src/app.ts',
    ],
    ['**/runtime/**', '**/training/**', '**/workers/**'],
    'The HTTP side never loads ONNX Runtime or the training engine.',
  ),
  {
    files: ['src/runtime/**/*.ts'],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: ['**/passes/**', '**/jobs/**', '**/storage/**', '**/routes/**', '**/data/**'],
              message: 'src/runtime builds on src/onnx only.',
            },
          ],
        },
      ],
    },
  },
  {
    files: ['src/onnx/**/*.ts', 'src/passes/**/*.ts', 'src/search/**/*.ts', 'src/training/**/*.ts'],
    rules: { 'no-restricted-properties': ['error', environment, ...deterministic] },
  },
  {
    files: [
      'src/config.ts',
      'src/server.ts',
      'workers/**/*.ts',
      'test/**/*.ts',
      'bench/**/*.ts',
      'examples/**/*.ts',
      'src/cli/**/*.ts',
    ],
    rules: { 'no-restricted-properties': 'off' },
  },
  { files: ['bench/**/*.ts', 'examples/**/*.ts', 'src/cli/**/*.ts', 'test/**/*.ts'], rules: { 'no-console': 'off' } },
  {
    files: ['test/**/*.ts', 'bench/**/*.ts', 'examples/**/*.ts'],
    rules: {
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafeCalls: [
            {
              from: 'package',
              name: ['describe', 'it', 'test', 'before', 'after', 'beforeEach', 'afterEach'],
              package: 'node:test',
            },
          ],
        },
      ],
      '@typescript-eslint/no-non-null-assertion': 'off',
      'max-params': 'off',
    },
  },
);
