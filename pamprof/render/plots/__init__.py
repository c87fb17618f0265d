"""One file a plot: each has ``draw(sheet, chart)``; ``picture`` finds it by the chart's kind."""
