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

/** End-to-end tests that use VMs, whichever way these started; and those that take long over it. */
const WAYS = ['console', 'deaths', 'dpdk', 'starts', 'tap']
const MORE_WAYS = ['disks', 'ends', 'fixture', 'plug', 'ports', 'ps', 'reset', 'snapshot', 'vfio']
const inEachWay = [...WAYS, ...(process.env.WAYS === 'all' ? MORE_WAYS : [])].map(
  (name) => `test/e2e/${name}.test.ts`,
)

async function dutPlugin(options = {}) {
  const file = at('src/plugin.ts')
  return existsSync(file) ? [(await import(file)).dut(options)] : []
}

export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } }, // Vitest's own second is a limit on a busy machine's speed
    maxConcurrency: 2, // as many as the smallest machine has cores
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/e2e/**'],
          maxWorkers: 2, // Vitest leaves a core for itself, and they mostly wait
        },
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
      // The same whichever way a VM came to be: by default as a clone, here booted, here restored.
      {
        extends: true,
        plugins: await dutPlugin(),
        resolve: { alias },
        test: {
          name: 'e2e-cold',
          include: inEachWay,
          env: { VITEST_DUT_BOOT: 'cold' },
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        plugins: await dutPlugin(),
        resolve: { alias },
        test: {
          name: 'e2e-restored',
          include: inEachWay,
          exclude: ['test/e2e/disks.test.ts'], // some of its VMs keep no states
          setupFiles: [at('test/support/restored.setup.ts')],
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
      {
        extends: true,
        plugins: await dutPlugin({ summary: true }),
        resolve: { alias },
        test: {
          name: 'examples',
          include: ['examples/*.spec.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 4 },
        },
      },
      // Cases of the classic DPDK Test Suite, as they are written here.
      {
        extends: true,
        plugins: await dutPlugin(),
        resolve: { alias },
        test: {
          name: 'dts',
          include: ['examples/dts/*.spec.ts'],
          testTimeout: 180_000,
          fileParallelism: false,
          sequence: { groupOrder: 5 },
        },
      },
    ],
  },
})
