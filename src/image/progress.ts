/**
 * Makes short lines for people out of what mmdebstrap and apt print.
 *
 * @returns a function that takes their output as it comes, in pieces of any size
 */
export function readProgress(onProgress: (line: string) => void): (text: string) => void {
  let rest = ''
  let total = 0
  const counts = { Unpacking: 0, 'Setting up': 0 }
  const words = { Unpacking: 'unpacking', 'Setting up': 'setting up' }
  return (text) => {
    const lines = (rest + text).split(/[\r\n]+/)
    rest = lines.pop() ?? ''
    for (const line of lines) {
      total += Number(/(\d+) newly installed/.exec(line)?.[1] ?? 0)
      const what = /^(Unpacking|Setting up) /.exec(line)?.[1] as keyof typeof counts | undefined
      if (what !== undefined) {
        counts[what]++
        const of = total >= counts[what] ? `/${total}` : ''
        onProgress(`${words[what]} packages ${counts[what]}${of}`)
      } else if (/^I: downloading/.test(line)) {
        onProgress('downloading packages')
      } else if (/^Get:\d+ .* linux-image/.test(line)) {
        onProgress('downloading the kernel')
      }
    }
  }
}
