export { rules as default } from '../../extension/eslint.config.mjs';
