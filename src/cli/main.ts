#!/usr/bin/env node
import { inRange, NODE_VERSIONS } from './package.ts'

// All else is loaded after this look, for it may be more than an old Node can read.
if (inRange(process.versions.node, NODE_VERSIONS)) {
  const { main } = await import('./program.ts')
  await main(process.argv.slice(2))
} else {
  const { version, execPath } = process
  process.stderr.write(`vitest-dut needs Node ${NODE_VERSIONS}; ${execPath} is ${version}\n`)
  process.exitCode = 1
}
