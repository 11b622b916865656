import { describe, expect, test } from 'vitest'
import { UsageError } from '../../src/errors.ts'
import { type PluginOptions, resolvePluginOptions } from '../../src/runner/options.ts'

describe('the plugin’s options', () => {
  test('are all defaults where none are given', () => {
    expect(resolvePluginOptions({})).toEqual({
      duts: [{ name: 'dut0' }],
      bootTimeoutMs: 120_000,
      admission: { grow: false, overcommit: 1, timeoutMs: 1_800_000 },
      handleSignals: true,
      summary: false,
    })
  })

  test('are kept, and are plain data', () => {
    const options: PluginOptions = {
      duts: [{ name: 'left', ports: [30_000, 30_099] }, { name: 'right-2.x_y' }],
      concurrency: 4,
      bootTimeout: '5m',
      hugepages: { grow: true },
      overcommit: 1.5,
      waitTimeout: '2m',
      handleSignals: false,
      summary: true,
    }
    const resolved = resolvePluginOptions(options)
    expect(resolved).toEqual({
      ...options,
      bootTimeoutMs: 300_000,
      admission: { grow: true, overcommit: 1.5, timeoutMs: 120_000 },
    })
    expect(JSON.parse(JSON.stringify(resolved))).toEqual(resolved)
  })
})

describe('what cannot be is refused with what to write:', () => {
  test.each<[unknown, string, string]>([
    [{ dut: [] }, 'dut(): unknown option "dut"', 'did you mean "duts"?'],
    [{ boottimeout: 1 }, 'unknown option "boottimeout"', 'did you mean "bootTimeout"?'],
    [{ vms: 2 }, 'unknown option "vms"', ''],
    [null, 'dut(): the options are not an object', ''],
    [{ duts: [] }, 'duts is not a list of DUTs', `duts: [{ name: 'dut0' }]`],
    [{ duts: { name: 'a' } }, 'duts is not a list of DUTs', ''],
    [{ duts: ['dut0'] }, 'dut(): duts[0]: the options are not an object', ''],
    [{ duts: [{ name: 'a' }, {}] }, 'dut(): duts[1]: undefined is not a name', 'up to 32 letters'],
    [{ duts: [{ name: 'a/b' }] }, 'duts[0]: "a/b" is not a name', ''],
    [{ duts: [{ name: '..' }] }, 'duts[0]: ".." is not a name', 'no dot or dash first'],
    [
      { duts: [{ name: 'a', hots: 'x' }] },
      'duts[0]: unknown option "hots"',
      'did you mean "host"?',
    ],
    [{ duts: [{ name: 'a', ports: [9, 1] }] }, 'a: ports: [9,1] is not a range', '[20000, 20999]'],
    [{ hugepages: true }, 'dut(): hugepages: the options are not an object', ''],
    [{ hugepages: { grow: 1 } }, 'hugepages.grow: 1 is not true or false', ''],
    [{ overcommit: 0.5 }, 'overcommit: 0.5 is not from 1 to 100', 'no more memory than there is'],
    [{ waitTimeout: 5 }, 'waitTimeout: 5 ms? DTS counted seconds', "write '5s'"],
    [{ duts: [{ name: 'a' }, { name: 'a' }] }, 'two DUTs are named "a"', ''],
    [
      { duts: [{ name: 'a', host: 'ssh://b' }] },
      'a: this version reaches this machine only',
      'leave',
    ],
    [{ concurrency: 0 }, 'dut(): concurrency: 0 is not a whole number', '1 to 1000'],
    [{ bootTimeout: 5 }, 'dut(): bootTimeout: 5 ms? DTS counted seconds', `write '5s'`],
    [{ bootTimeout: 'soon' }, 'dut(): bootTimeout: "soon" is not a time', ''],
  ])('%j', (options, message, hint) => {
    const resolve = () => resolvePluginOptions(options as PluginOptions)
    expect(resolve).toThrow(UsageError)
    expect(resolve).toThrow(message)
    expect(resolve).toThrow(hint)
  })
})
