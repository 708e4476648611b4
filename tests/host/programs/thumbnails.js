// After a burst of native image work: pictures made and scaled down, eight at a time, all dropped. Then it idles.
// Knows no memgov. NODE_PATH has sharp.
const sharp = require("sharp");
async function burst() {
  for (let round = 0; round < Number(process.argv[2]); round++) {
    await Promise.all(Array.from({length: 8}, async (_, number) => {
      const background = {r: number * 20, g: 90, b: 120};
      const jpeg = await sharp({create: {width: 2600, height: 2000, channels: 3, background}}).jpeg().toBuffer();
      await sharp(jpeg).rotate(3).resize(800).sharpen().webp().toBuffer();
    }));
  }
}
process.on("SIGTERM", () => process.exit(0));
burst().then(() => {
  console.log(JSON.stringify({ready: true}));
  setInterval(() => {}, 500);
});
