"""The fonts that ship with the app, as ``page.fonts`` wants them: family to path below the assets folder."""

CODE_FONT = "Noto Sans Mono"
FONTS = {CODE_FONT: "fonts/noto-sans-mono.ttf"}
