import { cpus as nodeCpus } from 'node:os'
import { describe, expect, test } from 'vitest'
import { UsageError } from '../../../src/errors.ts'
import { localHost } from '../../../src/host/local.ts'
import {
  type CoreWish,
  type Cpu,
  chooseCores,
  formatCpuList,
  parseCpuList,
  readCpus,
} from '../../../src/lease/resources/cores.ts'
import { makeTree } from '../../support/tree.ts'

/** Nodes of cores of threads: `[['0,4', '1,5'], ['2,6', '3,7']]`. */
function machine(...nodes: string[][]): Cpu[] {
  return nodes
    .flatMap((cores, node) =>
      cores.flatMap((core) => parseCpuList(core).map((cpu) => ({ cpu, core, node }))),
    )
    .sort((a, b) => a.cpu - b.cpu)
}

const FOUR = machine(['0', '1', '2', '3'])
const SMT = machine(['0,4', '1,5', '2,6', '3,7'])
const TWO_NODES = machine(['0', '1', '2', '3'], ['4', '5', '6', '7'])
const BOTH = '0-3 on node 0; 4-7 on node 1'
const TWO_SMT_NODES = machine(['0,8', '2,10', '4,12', '6,14'], ['1,9', '3,11', '5,13', '7,15'])
/** Node 1 begins at 16, cpus 2 and 17 are offline, so their siblings are alone. */
const HOLES = machine(['0,8', '1,9', '10', '3,11'], ['16,24', '25'])
/** Performance cores with two threads and efficient ones with one. */
const HYBRID = machine(['0-1', '2-3', '4', '5'])

describe('choosing', () => {
  test.each<[string, Cpu[], number[], CoreWish, number[] | undefined, number[]?]>([
    ['the highest first', FOUR, [], { count: 1 }, [3]],
    ['from the lowest of them on', FOUR, [], { count: 3 }, [1, 2, 3]],
    ['cpu 0 when it must be', FOUR, [], { count: 4 }, [0, 1, 2, 3]],
    ['around those that are taken', FOUR, [1, 3], { count: 2 }, [0, 2]],
    ['too few are free', FOUR, [1, 3], { count: 3 }, undefined],
    ['taken ones that are no longer there', FOUR, [99], { count: 1 }, [3]],
    ['one keeps its sibling free', SMT, [], { count: 1 }, [3], [3, 7]],
    ['siblings together', SMT, [], { count: 2 }, [3, 7]],
    ['three of two cores', SMT, [], { count: 3 }, [2, 6, 3], [2, 3, 6, 7]],
    ['a core with one thread taken is not free', SMT, [7, 2], { count: 2 }, [1, 5]],
    ['threads of cores that are half taken do not count', SMT, [0, 1, 7], { count: 3 }, undefined],
    ['all of one core, again and again', SMT, [3, 7, 2, 6, 1, 5], { count: 2 }, [0, 4]],
    ['of nodes that are alike the one without cpu 0', TWO_NODES, [], { count: 2 }, [6, 7]],
    ['the node with the most free', TWO_NODES, [7], { count: 2 }, [2, 3]],
    ['the node that was asked for', TWO_NODES, [], { count: 2, node: 0 }, [2, 3]],
    ['it is taken', TWO_NODES, [0, 1, 2], { count: 2, node: 0 }, undefined],
    ['not over two nodes', TWO_NODES, [0, 1, 4, 5], { count: 3 }, undefined],
    ['but over two where none is large enough', TWO_NODES, [], { count: 5 }, [3, 4, 5, 6, 7]],
    ['and then not now', TWO_NODES, [0, 1, 2, 3], { count: 5 }, undefined],
    ['nodes with siblings', TWO_SMT_NODES, [], { count: 4 }, [5, 13, 7, 15], [5, 7, 13, 15]],
    ['on the even node', TWO_SMT_NODES, [], { count: 3, node: 0 }, [4, 12, 6], [4, 6, 12, 14]],
    ['more free cores, not threads', TWO_SMT_NODES, [1, 3], { count: 2 }, [6, 14]],
    ['a sibling is offline', HOLES, [], { count: 1 }, [10]],
    ['the only node that fits', HOLES, [], { count: 3, node: 1 }, [16, 24, 25]],
    ['over holes', HOLES, [10], { count: 4 }, [1, 9, 3, 11], [1, 3, 9, 11]],
    ['cores of several kinds', HYBRID, [], { count: 3 }, [2, 3, 4]],
    ['a list', SMT, [], { list: [2, 6] }, [2, 6]],
    ['a list in its own order', SMT, [], { list: [5, 0, 3] }, [5, 0, 3], [0, 3, 5]],
    ['a list keeps no sibling', SMT, [6], { list: [2] }, [2]],
    ['one of the list is taken', SMT, [6], { list: [2, 6] }, undefined],
    ['a list over nodes', TWO_NODES, [], { list: [0, 7] }, [0, 7]],
  ])('%s', (_, cpus, taken, wish, chosen, reserved = chosen) => {
    expect(chooseCores(cpus, new Set(taken), wish)).toEqual(
      chosen && { cpus: chosen, reserved: reserved?.toSorted((a, b) => a - b) },
    )
  })

  test.each<[string, Cpu[], CoreWish, string, string]>([
    ['more than the host has', FOUR, { count: 5 }, '5 cpus are wanted', '0-3 on node 0'],
    ['more than its threads', SMT, { count: 9 }, '9 cpus', '0-7 on node 0'],
    ['more than all nodes have', TWO_SMT_NODES, { count: 17 }, '17 cpus', '0,2,4,6,8,10,12,14 on'],
    ['more than the node has', TWO_NODES, { count: 5, node: 1 }, '5 cpus on node 1', BOTH],
    ['a node that is not there', TWO_NODES, { count: 1, node: 2 }, '1 cpu on node 2 is', BOTH],
    ['more than is online', HOLES, { count: 4, node: 1 }, '4 cpus on', '0-1,3,8-11 on node 0; 16'],
    ['a cpu that is not there', FOUR, { list: [4] }, 'cpu 4 does not exist, is offline', '0-3'],
    ['several', HOLES, { list: [0, 2, 17, 18] }, 'cpu 2,17-18 does not exist', '0-1,3'],
    ['one twice', FOUR, { list: [1, 2, 1] }, 'cpu 1 is named twice', '0-3'],
    ['anything of nothing', [], { count: 1 }, '1 cpu is wanted', 'none at all'],
  ])('%s is never given', (_, cpus, wish, message, hint) => {
    const choose = () => chooseCores(cpus, new Set([0, 1, 2, 3, 4]), wish)
    expect(choose).toThrow(UsageError)
    expect(choose).toThrow(message)
    expect(choose).toThrow(`there are ${hint}`)
  })

  test('VM after VM, whole cores only, until none is left', () => {
    const taken = new Set<number>()
    const given: number[][] = []
    for (;;) {
      const chosen = chooseCores(TWO_SMT_NODES, taken, { count: 1 })
      if (chosen === undefined) break
      for (const cpu of chosen.reserved) {
        expect(taken).not.toContain(cpu)
        taken.add(cpu)
      }
      given.push(chosen.reserved)
    }
    expect(given).toHaveLength(8)
    expect(given.at(-1)).toEqual([0, 8])
    expect(taken.size).toBe(16)
  })
})

test.each([
  ['', []],
  ['0', [0]],
  ['0-3', [0, 1, 2, 3]],
  ['0-1,8,10-11\n', [0, 1, 8, 10, 11]],
])('the kernel’s list %j', (text, cpus) => {
  expect(parseCpuList(text)).toEqual(cpus)
  expect(formatCpuList(cpus.toReversed())).toBe(text.trim())
})

describe('this machine', () => {
  const read = (system?: string) => readCpus(localHost(), system)

  test('has the cpus that nproc counts', async () => {
    const cpus = await read()
    const { stdout } = await localHost().run('nproc', [])
    expect(cpus).toHaveLength(Number(stdout))
    expect(cpus.length).toBeLessThanOrEqual(nodeCpus().length)
  })

  test('has the cores and nodes that lscpu tells', async () => {
    const { stdout } = await localHost().run('lscpu', ['--online', '--parse=CPU,CORE,NODE'])
    const told = stdout.split('\n').filter((line) => /^\d/.test(line))
    const cores = new Map<string, string>()
    for (const { cpu, core, node } of await read()) {
      const [, itsCore = '', itsNode] =
        told.map((line) => line.split(',')).find(([number]) => number === String(cpu)) ?? []
      expect(String(node)).toBe(itsNode || '0')
      expect(cores.get(itsCore) ?? core).toBe(core)
      cores.set(itsCore, core)
    }
    expect(new Set(cores.values()).size).toBe(cores.size)
  })

  test('only those that this process may use', async () => {
    const all = await read()
    const last = all.at(-1)
    const script = `
      const { readCpus } = await import(${JSON.stringify(import.meta.resolve('../../../src/lease/resources/cores.ts'))})
      const { localHost } = await import(${JSON.stringify(import.meta.resolve('../../../src/host/local.ts'))})
      console.log(JSON.stringify(await readCpus(localHost())))`
    const node = [process.execPath, '--input-type=module', '-e', script]
    const { stdout } = await localHost().run('taskset', ['-c', String(last?.cpu), ...node])
    expect(JSON.parse(stdout)).toEqual([last])
  })
})

describe('another machine', () => {
  const files = {
    'cpu/online': '0-1',
    'cpu/cpu0/topology/core_cpus_list': '0',
    'cpu/cpu1/topology/core_cpus_list': '1',
    'node/node0/cpulist': '0',
    'node/node1/cpulist': '1',
    'node/node2/cpulist': '',
  }
  // Which of them this process may use is up to the machine that the test runs on.
  const read = async (changes: Record<string, string | undefined>, host = localHost()) => {
    const given = Object.entries({ ...files, ...changes }).filter(([, text]) => text !== undefined)
    return readCpus(host, await makeTree(Object.fromEntries(given) as Record<string, string>))
  }
  const all = (...cpus: Cpu[]) => expect.arrayContaining(cpus.slice(0, nodeCpus().length))

  test('with two nodes, and one that has only memory', async () => {
    const cpus = await read({})
    expect(cpus).toEqual(all({ cpu: 0, core: '0', node: 0 }, { cpu: 1, core: '1', node: 1 }))
  })

  test('with two threads a core, by the older name as well', async () => {
    const old = { 'cpu/cpu0/topology/thread_siblings_list': '0-1', 'node/node0/cpulist': '0-1' }
    const both = {
      'cpu/cpu1/topology/thread_siblings_list': '0-1',
      'node/node1/cpulist': undefined,
    }
    const none = {
      'cpu/cpu0/topology/core_cpus_list': undefined,
      'cpu/cpu1/topology/core_cpus_list': undefined,
    }
    expect(await read({ ...old, ...both, ...none })).toEqual(
      all({ cpu: 0, core: '0-1', node: 0 }, { cpu: 1, core: '0-1', node: 0 }),
    )
  })

  test('that tells nothing of cores and nodes', async () => {
    const system = await makeTree({ 'cpu/online': '0-1' })
    expect(await readCpus(localHost(), system)).toEqual(
      all({ cpu: 0, core: '0', node: 0 }, { cpu: 1, core: '1', node: 0 }),
    )
  })

  test('whose cpu goes offline between two looks', async () => {
    const system = await makeTree(files)
    const host = localHost()
    await readCpus(host, system)
    await host.writeFile(`${system}/cpu/online`, '0\n')
    await host.writeFile(`${system}/cpu/cpu0/topology/core_cpus_list`, 'alone\n')
    expect(await readCpus(host, system)).toEqual([{ cpu: 0, core: 'alone', node: 0 }])
  })

  test('with 256 cpus is read by one program, and once', async () => {
    const numbers = Array.from({ length: 256 }, (_, cpu) => cpu)
    const system = await makeTree({
      'cpu/online': '0-255',
      ...Object.fromEntries(
        numbers.map((cpu) => [`cpu/cpu${cpu}/topology/core_cpus_list`, `${cpu % 128},${cpu}`]),
      ),
    })
    let programs = 0
    const host = localHost()
    const { run } = host
    host.run = (...args) => {
      programs += 1
      return run(...args)
    }
    const looks = await Promise.all([readCpus(host, system), readCpus(host, system)])
    expect(looks[0]).toContainEqual({ cpu: 0, core: '0,0', node: 0 })
    expect(await readCpus(host, system)).toEqual(looks[1])
    expect(programs).toBe(1)
  })
})
