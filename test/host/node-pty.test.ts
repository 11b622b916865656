import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { installLine } from '../../src/host/node-pty.ts'

const MODULE = new URL('../../src/host/node-pty.ts', import.meta.url).href
const BINARY = createRequire(createRequire(import.meta.url).resolve('@lydell/node-pty')).resolve(
  `@lydell/node-pty-${process.platform}-${process.arch}/pty.node`,
)

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'node-pty-'))
  onTestFinished(() => rmSync(dir, { recursive: true }))
  return dir
}

describe('the line that installs what is missing', () => {
  test.each([
    ['npm', '.package-lock.json', 'npm install --include=optional'],
    ['pnpm', '.modules.yaml', 'pnpm install --force'],
    ['yarn 1', '.yarn-integrity', 'yarn install --force'],
    ['yarn 4', '.yarn-state.yml', 'yarn install'],
  ])('is that of %s where %s is in node_modules', (_, trace, line) => {
    const modules = join(folder(), 'node_modules')
    const inside = join(modules, 'vitest-dut/dist/host')
    mkdirSync(inside, { recursive: true })
    writeFileSync(join(modules, trace), '')
    // Whoever runs it has not necessarily installed it.
    expect(installLine(inside, 'npm/11.0.0 node/v24.0.0 linux x64')).toBe(line)
  })

  test('is found above a store that is inside node_modules, as pnpm has it', () => {
    const modules = join(folder(), 'node_modules')
    const inside = join(modules, '.pnpm/vitest-dut@0.1.0/node_modules/vitest-dut/dist/host')
    mkdirSync(inside, { recursive: true })
    writeFileSync(join(modules, '.modules.yaml'), '')
    expect(installLine(inside, undefined)).toBe('pnpm install --force')
  })

  test.each([
    ['pnpm/10.34.9 npm/? node/v24.21.0 linux x64', 'pnpm install --force'],
    ['yarn/1.22.22 npm/? node/v24.21.0 linux x64', 'yarn install --force'],
    ['yarn/4.18.1 npm/? node/v24.21.0 linux x64', 'yarn install'],
    ['bun/1.4.5 npm/? node/v24.3.0 linux x64', 'bun install --force'],
    ['npm/11.19.1 node/v24.21.0 linux x64', 'npm install --include=optional'],
    ['', 'npm install --include=optional'],
  ])('follows who runs it where nothing else tells: %s', (agent, line) => {
    expect(installLine('/nowhere/dist/host', agent)).toBe(line)
  })
})

describe('the module that is shipped', () => {
  test('is not linked against a library of Node, with which each Node would crash at its end', () => {
    expect(readFileSync(BINARY).toString('latin1')).not.toMatch(/libnode\.so/)
  })

  test('opens a terminal in a Node that ends with status 0', () => {
    const code = `
      import { nodePty } from '${MODULE}'
      nodePty().spawn('sh', ['-c', 'test -t 0 && echo tty'], {}).onData((text) => process.stdout.write(text))`
    const args = ['--input-type=module', '--eval', code]
    expect(execFileSync(process.execPath, args, { encoding: 'utf8' })).toContain('tty')
  })

  test('is told in a sentence where the system cannot load it', () => {
    const broken = join(folder(), 'pty.node')
    writeFileSync(broken, 'not a library')
    const code = `
      import { registerHooks } from 'node:module'
      registerHooks({
        resolve: (name, context, next) =>
          name.endsWith('/pty.node') ? next('${broken}', context) : next(name, context),
      })
      const { nodePty } = await import('${MODULE}')
      try { nodePty() } catch (error) { console.log(error.message) }`
    const args = ['--input-type=module', '--eval', code]
    const { stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    expect(stdout).toMatch(/^@lydell\/node-pty cannot be loaded: .*pty\.node.*\n→ it needs glibc/)
  })
})
