import { describe, expect, test } from 'vitest'
import { UsageError } from '../../../src/errors.ts'
import { Budget, resourcesOf, type Stock } from '../../../src/lease/admission/budget.ts'
import type { Need } from '../../../src/lease/resources/needs.ts'

const M = 2 ** 20
const none = { cpus: [], names: [], pci: [] }
const pool = (node: number, total: number, free = total) =>
  ({ size: '2M', node, total, free }) as const
const stock = (over: Partial<Stock> = {}): Stock => ({
  memory: { total: 4096 * M, available: 2048 * M },
  pages: { pools: [pool(0, 300)], reserved: { '2M': 0, '1G': 0 }, defaultSize: '2M' },
  cpus: [0, 1, 2, 3].map((cpu) => ({ cpu, core: String(cpu), node: 0 })),
  ...over,
})
const twoNodes = (a: number, b: number, reserved = 0): Stock =>
  stock({
    pages: {
      pools: [pool(0, a), pool(1, b)],
      reserved: { '2M': reserved, '1G': 0 },
      defaultSize: '2M',
    },
  })
const pages = (count: number, node?: number): Need => ({
  dut: 'd',
  pages: { bytes: count * 2 * M, ...(node !== undefined && { node }) },
})
const memory = (megabytes: number): Need => ({ dut: 'd', memory: megabytes * M })
const meet = (given: Stock, needs: Need[], { grow = false } = {}) =>
  new Budget(given, { grow }).meet(needs)

describe('memory', () => {
  test.each([
    [[1024, 1024], undefined],
    [[1024, 1025], 'needs 1025M of memory, 1024M are available'],
    [[4096], 'needs 4096M of memory, 2048M are available'],
  ])('%j of 2048M', (sizes, lack) => {
    const met = meet(stock(), sizes.map(memory))
    if (lack === undefined) expect(met).toHaveProperty('choices')
    else expect(met).toEqual({ lacks: [{ resource: 'memory', text: `a test ${lack}` }] })
  })

  test('that is promised and not touched is not there', () => {
    const budget = new Budget(stock(), { grow: false })
    budget.subtract(none, { memory: 1500 * M })
    expect(budget.meet([memory(600)])).toHaveProperty('lacks')
    expect(budget.meet([memory(500)])).toHaveProperty('choices')
  })
})

describe('huge pages that a control group limits', () => {
  const limited = (total: number, free: number): Stock =>
    stock({
      pages: {
        ...{ pools: [pool(0, 300)], reserved: { '2M': 0, '1G': 0 }, defaultSize: '2M' },
        limits: { '2M': { total, free } },
      },
    })

  test.each([false, true])('are no more than it allows, with grow: %s', (grow) => {
    expect(meet(limited(60, 50), [pages(40), pages(20)], { grow })).toEqual({
      lacks: [
        {
          resource: 'pages 2M',
          text: 'a test needs 20 pages of 2M, its control group has 10 left for it',
        },
      ],
    })
    expect(meet(limited(60, 50), [pages(40), pages(10)], { grow })).toHaveProperty('choices')
  })

  test('are fewer by what others were promised', () => {
    const budget = new Budget(limited(60, 50), { grow: false })
    budget.subtract(none, { memory: 0, pages: { size: '2M', node: 0, count: 30, bind: false } })
    expect(budget.meet([pages(21)])).toHaveProperty('lacks')
    expect(budget.meet([pages(20)])).toHaveProperty('choices')
  })
})

describe('huge pages', () => {
  test('come from the pool, and the next need finds fewer', () => {
    expect(meet(stock(), [pages(200), pages(200)])).toEqual({
      lacks: [{ resource: 'pages 2M', text: 'a test needs 200 pages of 2M on node 0, 100 free' }],
    })
    const met = meet(stock(), [pages(200), pages(100)])
    expect('choices' in met && met.choices.map(({ holding }) => holding.pages?.count)).toEqual([
      200, 100,
    ])
  })

  test('that others were promised are not free', () => {
    const budget = new Budget(stock(), { grow: false })
    const promised = { size: '2M', node: 0, count: 256, bind: false } as const
    budget.subtract(none, { memory: 0, pages: promised })
    expect(budget.meet([pages(45)])).toHaveProperty('lacks')
    expect(budget.meet([pages(44)])).toHaveProperty('choices')
  })

  test('that a program has reserved and not touched are not free either', () => {
    expect(meet(twoNodes(300, 300, 350), [pages(251)])).toHaveProperty('lacks')
    expect(meet(twoNodes(300, 300, 350), [pages(250)])).toHaveProperty('choices')
  })

  test.each([
    [undefined, 1, true],
    [0, 0, true],
  ])('of node %j come from node %i', (node, taken, bind) => {
    const met = meet(twoNodes(100, 200), [pages(50, node)])
    expect('choices' in met && met.choices[0]?.holding.pages).toMatchObject({ node: taken, bind })
  })

  test('are not split over nodes, and need no binding where there is one', () => {
    expect(meet(twoNodes(100, 100), [pages(150)])).toHaveProperty('lacks')
    const met = meet(stock(), [pages(50)])
    expect('choices' in met && met.choices[0]?.holding.pages?.bind).toBe(false)
  })

  test('are added where that is allowed, for as much as is missing, and cost memory', () => {
    const met = meet(stock(), [pages(400), pages(100), memory(1600)], { grow: true })
    expect('choices' in met && met.choices.map(({ holding }) => holding.pages?.grown)).toEqual([
      { from: 300, to: 400 },
      { from: 400, to: 500 },
      undefined,
    ])
    const over = meet(stock(), [pages(500), memory(1700)], { grow: true })
    expect(over).toMatchObject({ lacks: [{ resource: 'memory' }] })
  })

  test('are not added where there is not the memory', () => {
    expect(meet(stock(), [pages(300 + 1025)], { grow: true })).toHaveProperty('lacks')
    expect(meet(stock(), [pages(300 + 1024)], { grow: true })).toHaveProperty('choices')
  })

  test.each([
    [{ dut: 'd', pages: { bytes: 3 * M } }, 'is no number of huge pages of 2M'],
    [{ dut: 'd', pages: { bytes: 2 ** 30, size: '1G' } }, 'no huge pages of 1G'],
    [{ dut: 'd', pages: { bytes: 2 * M, node: 3 } }, 'no huge pages of 2M on node 3'],
  ] as const)('%j is refused', (need, message) => {
    expect(() => meet(stock(), [need])).toThrow(message)
    expect(() => meet(stock(), [need])).toThrow(UsageError)
  })
})

describe('cores', () => {
  test('named ones first, then any; in the order of the needs', () => {
    const met = meet(stock(), [
      { dut: 'd', cores: { count: 2 } },
      { dut: 'd', cores: { list: [3] } },
    ])
    expect('choices' in met && met.choices.map(({ pin }) => pin)).toEqual([[1, 2], [3]])
  })

  test('that are taken: what is free is told', () => {
    const budget = new Budget(stock(), { grow: false })
    budget.subtract({ ...none, cpus: [1, 2, 3] }, { memory: 0 })
    expect(budget.meet([{ dut: 'd', cores: { list: [2] } }])).toEqual({
      lacks: [{ resource: 'cores', text: 'a test needs cpu 2, free: 0' }],
    })
    expect(budget.meet([{ dut: 'd', cores: { count: 2 } }])).toEqual({
      lacks: [{ resource: 'cores', text: 'a test needs 2 cpus on cores of their own, free: 0' }],
    })
  })

  test('are on the node of the huge pages', () => {
    const cpus = [0, 1, 2, 3].map((cpu) => ({ cpu, core: String(cpu), node: cpu % 2 }))
    const met = meet({ ...twoNodes(10, 100), cpus }, [{ ...pages(50), cores: { count: 2 } }])
    expect('choices' in met && met.choices[0]?.pin).toEqual([1, 3])
  })
})

describe('names', () => {
  test('one at a time, PCI devices too', () => {
    const needs = [
      { dut: 'd', names: ['generator'], pci: ['0000:03:00.0'] },
      { dut: 'd', names: ['generator'] },
      { dut: 'd', pci: ['0000:03:00.0'] },
    ]
    expect(meet(stock(), needs)).toEqual({
      lacks: [
        { resource: 'name generator', text: 'a test needs generator' },
        { resource: 'name 0000:03:00.0', text: 'a test needs 0000:03:00.0' },
      ],
    })
  })
})

test('what a need competes for', () => {
  const need: Need = { ...memory(1), ...pages(1), cores: { count: 1 }, names: ['a'], pci: ['b'] }
  expect([...resourcesOf([need, { dut: 'd', ports: 3 }], stock().pages)]).toEqual([
    ...['memory', 'pages 2M', 'cores', 'name a', 'name b'],
  ])
})
