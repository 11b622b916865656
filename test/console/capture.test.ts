import { describe, expect, test } from 'vitest'
import { Capture, withoutEcho } from '../../src/console/capture.ts'

describe('a capture', () => {
  test('of nothing expected is all of it, and never matched', () => {
    const capture = new Capture('')
    capture.push('a\n')
    capture.push('b')
    expect(capture).toMatchObject({ matched: false, text: 'a\nb', before: 'a\nb' })
  })

  test('ends with the match, and what comes later is not in it', () => {
    const capture = new Capture(/up|down/)
    for (const piece of ['link ', 'd', 'ow', 'n, then up', ' more']) capture.push(piece)
    expect(capture).toMatchObject({ matched: true, text: 'link down', before: 'link ' })
  })

  test('is everything while there is no match', () => {
    const capture = new Capture('x')
    capture.push('abc')
    expect(capture).toMatchObject({ matched: false, text: 'abc', before: 'abc' })
  })

  test('of a match at the very beginning has nothing before it', () => {
    const capture = new Capture('> ')
    capture.push('> more')
    expect(capture).toMatchObject({ matched: true, text: '> ', before: '' })
  })

  test('that is cleared has forgotten a match, and half of one', () => {
    const capture = new Capture('ab')
    capture.push('xab')
    capture.clear()
    expect(capture).toMatchObject({ matched: false, text: '' })
    capture.push('a')
    capture.clear()
    capture.push('b')
    expect(capture.matched).toBe(false)
    capture.push('ab')
    expect(capture).toMatchObject({ matched: true, text: 'bab', before: 'b' })
  })

  test.each([...'link down; port 7'])('is the same however it is cut: at %j', (at) => {
    const text = 'link down; port 7'
    const i = text.indexOf(at)
    const capture = new Capture(/port \d/)
    capture.push(text.slice(0, i))
    capture.push(text.slice(i))
    expect(capture).toMatchObject({ matched: true, before: 'link down; ', text })
  })
})

test.each([
  ['show port\nup\n', 'show port', 'up\n'],
  ['up\n', 'show port', 'up\n'],
  ['show port', 'show port', 'show port'],
  ['show portx\n', 'show port', 'show portx\n'],
  ['\nx', '', 'x'],
])('%j without the echo of %j is %j', (output, command, wanted) => {
  expect(withoutEcho(output, command)).toBe(wanted)
})
