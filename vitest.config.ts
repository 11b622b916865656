import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url))

// Examples import the package by the name that users write.
const alias = [
  { find: /^vitest-dut$/, replacement: at('src/index.ts') },
  { find: /^vitest-dut\/plugin$/, replacement: at('src/plugin.ts') },
  { find: /^vitest-dut\/(dpdk|dts)$/, replacement: at('src/$1/index.ts') },
]

async function dutPlugin(options = {}) {
  const file = at('src/plugin.ts')
  return existsSync(file) ? [(await import(file)).dut(options)] : []
}

export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 120_000,
    projects: [
      {
        extends: true,
        test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: ['test/e2e/**'] },
      },
      {
        extends: true,
        plugins: await dutPlugin(),
        resolve: { alias },
        // Each of these files starts VMs of its own, and the smallest machine has two cores.
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        plugins: await dutPlugin({ summary: true }),
        resolve: { alias },
        test: {
          name: 'examples',
          include: ['examples/**/*.spec.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
