import { expect, test } from 'vitest'
import { readProgress } from '../../src/image/progress.ts'

test('counts packages, however the output is cut', () => {
  const printed = [
    'I: downloading packages with apt...',
    '0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.',
    'Unpacking bash (5.2.15) ...',
    'Unpacking dpdk (22.11) ...',
    'Setting up bash (5.2.15) ...',
    'Get:1 http://archive.example bookworm/main amd64 linux-image-6.1.0-1-cloud-amd64 [26 MB]',
    '',
  ].join('\n')
  const expected = [
    'downloading packages',
    'unpacking packages 1/2',
    'unpacking packages 2/2',
    'setting up packages 1/2',
    'downloading the kernel',
  ]
  for (const size of [1, 7, 1000]) {
    const lines: string[] = []
    const take = readProgress((line) => lines.push(line))
    for (let at = 0; at < printed.length; at += size) take(printed.slice(at, at + size))
    expect(lines).toEqual(expected)
  }
})
