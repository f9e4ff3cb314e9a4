import tseslint from 'typescript-eslint';

const message = (what, instead) => `no ${what}: ${instead}`;

/** What holds for all TypeScript of the project. */
export const rules = tseslint.config(
  { ignores: ['dist/', 'node_modules/', '**/*.mjs'] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      'no-restricted-syntax': [
        'error',
        { selector: 'ExportDefaultDeclaration', message: message('default export', 'name it') },
        { selector: 'TSEnumDeclaration', message: message('enum', 'use a union of strings') },
      ],
      '@typescript-eslint/explicit-function-return-type': ['error', { allowExpressions: true }],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
    },
  },
);

export default [
  ...rules,
  {
    files: ['src/**/*.ts'],
    ignores: ['src/extension.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        { name: 'vscode', message: 'only extension.ts meets the editor; the rest is pure' },
      ],
    },
  },
];
