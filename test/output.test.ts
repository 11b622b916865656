import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, onTestFinished, test } from 'vitest'
import { InfrastructureError, UsageError } from '../src/errors.ts'
import { KeptOutput, openOutputs, withText } from '../src/output.ts'

const MB = 2 ** 20

setFlagsFromString('--expose-gc')
const gc: () => void = runInNewContext('gc')

describe('output that is kept', () => {
  test.each([
    ['nothing', []],
    ['one piece', ['a']],
    ['many pieces', Array.from({ length: 10_000 }, (_, i) => `${i}\n`)],
    ['a piece larger than a block', ['a', 'x'.repeat(3 * MB), 'b']],
  ])('is what came: %s', (_, pieces) => {
    const output = new KeptOutput()
    for (const piece of pieces) output.push(Buffer.from(piece))
    const all = pieces.join('')
    expect(output.bytes().equals(Buffer.from(all))).toBe(true)
    expect(output.printed).toBe(all.length)
    expect(output.tail()).toBe(all.slice(-10_000))
    expect(output.isOver).toBe(false)
  })

  test('does not keep alive what its pieces are part of', () => {
    const output = new KeptOutput()
    const before = process.memoryUsage().arrayBuffers
    for (let i = 0; i < 256; i++) output.push(Buffer.alloc(MB).subarray(0, 1))
    gc()
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * MB)
    expect(output.bytes()).toHaveLength(256)
  })

  test('is only its end once it is over the limit, of which as much is said as came', () => {
    const output = new KeptOutput(MB)
    output.push(Buffer.alloc(MB))
    expect(output.isOver).toBe(false)
    for (let i = 0; i < 200; i++) output.push(Buffer.alloc(MB, 'x'))
    output.push(Buffer.from('end'))
    expect(output.isOver).toBe(true)
    expect(output.printed).toBe(201 * MB + 3)
    expect(output.bytes().length).toBeLessThan(3 * MB)
    expect(output.tail()).toMatch(/^x{9997}end$/)
  })
})

describe('a file for the output', () => {
  const path = async () => {
    const dir = await mkdtemp(join(tmpdir(), 'output-'))
    onTestFinished(() => rm(dir, { recursive: true }))
    return join(dir, 'out')
  }

  test('has what came, and memory its end', async () => {
    const file = await path()
    const outputs = openOutputs({ stdout: { file } })
    outputs.out.push(Uint8Array.of(255, 0, 10))
    outputs.out.push(Buffer.alloc(3 * MB, 'y'))
    outputs.err.push(Buffer.from('oops'))
    expect(outputs.overLimit()).toBeUndefined()
    expect(outputs.out.bytes()).toHaveLength(0)
    expect(outputs.tail()).toMatch(/^y{10000}oops$/)
    outputs.close()
    const written = await readFile(file)
    expect(written).toHaveLength(3 * MB + 3)
    expect([...written.subarray(0, 4)]).toEqual([255, 0, 10, 121])
  })

  test.each([
    ['/nowhere/out', 'cannot be opened: ENOENT'],
    ['/tmp', 'cannot be opened: EISDIR'],
  ])('that cannot be opened, %s, is an error at once', (file, why) => {
    expect(() => openOutputs({ stdout: { file } })).toThrow(InfrastructureError)
    expect(() => openOutputs({ stdout: { file } })).toThrow(why)
  })

  test('that is full is an error as soon as it is', async () => {
    const outputs = openOutputs({ stdout: { file: '/dev/full' } })
    outputs.out.push(Buffer.from('a'))
    outputs.out.push(Buffer.from('b'))
    await expect(outputs.failed).rejects.toThrow(/\/dev\/full, cannot be written: ENOSPC/)
    outputs.close()
  })
})

test.each([
  [{ maxOutput: '5' }, '5'],
  [{ maxOutput: 'much' }, 'maxOutput'],
  [{ stdout: { path: 'x' } }, 'unknown option "path"'],
  [{ stdout: { file: '' } }, 'file is not a path'],
  [{ stdout: 'out.log' }, 'not an object'],
])('options that cannot be meant, %j, are refused', (options, why) => {
  expect(() => openOutputs(options as object)).toThrow(UsageError)
  expect(() => openOutputs(options as object)).toThrow(why)
})

test('text longer than a string can be is an error for whoever reads it, and for nobody else', () => {
  const stdout = Buffer.alloc(2 ** 29)
  const result = withText({ stdoutBytes: stdout }, { stdout, stderr: Buffer.from('e') })
  expect(result.stdoutBytes).toHaveLength(2 ** 29)
  expect(result.stderr).toBe('e')
  expect(() => result.stdout).toThrow(UsageError)
  expect(() => result.stdout).toThrow(/stdout has 512M: at most.*\n.*stdoutBytes.*file/)
  const other = withText({}, { stdout: Buffer.alloc(0), stderr: stdout })
  expect(() => other.stderr).toThrow(/stderr has 512M: at most.*\n.*2>err.log/)
})
